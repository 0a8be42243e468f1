-- A job's own webhook.
INSERT INTO job_webhook (job, endpoint, types) VALUES (?1, ?2, ?3);
