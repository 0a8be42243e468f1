-- The accounts that the attempts of a job went to.
SELECT account FROM attempt WHERE job = ?1;
