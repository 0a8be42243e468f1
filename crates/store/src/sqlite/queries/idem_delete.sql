-- Frees the keys that stand for a job.
DELETE FROM idem WHERE job = ?1;
