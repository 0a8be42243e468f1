-- Forgets the deliveries of a job.
DELETE FROM delivery WHERE job = ?1;
