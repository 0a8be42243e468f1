-- Forgets the attempts of a job.
DELETE FROM attempt WHERE job = ?1;
