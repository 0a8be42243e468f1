-- Forgets a job's own webhook.
DELETE FROM job_webhook WHERE job = ?1;
