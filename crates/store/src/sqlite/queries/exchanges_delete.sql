-- Forgets the exchanges of a job.
DELETE FROM exchange WHERE job = ?1;
