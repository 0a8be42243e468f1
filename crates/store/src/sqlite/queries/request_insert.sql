-- The unchanging half of a job.
INSERT INTO job_req (job, metadata, input_key, req) VALUES (?1, ?2, ?3, ?4);
