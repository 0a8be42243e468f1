-- The endpoint of a job's own webhook, if it has one; no row unless the project has the job and it is not hidden.
SELECT (SELECT endpoint FROM job_webhook WHERE job = ?1) FROM job WHERE id = ?1 AND project = ?2 AND hidden_at IS NULL;
