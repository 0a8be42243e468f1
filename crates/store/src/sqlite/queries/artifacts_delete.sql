-- Forgets the outputs of a job.
DELETE FROM artifact WHERE job = ?1 RETURNING key;
