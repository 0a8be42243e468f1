-- Forgets the outputs of a hidden job.
DELETE FROM artifact WHERE job = ?1 RETURNING key;
