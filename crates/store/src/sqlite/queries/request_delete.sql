-- Forgets what a job was asked for.
DELETE FROM job_req WHERE job = ?1 RETURNING input_key;
