-- Forgets the provider jobs found through a job.
DELETE FROM orphan WHERE job = ?1;
