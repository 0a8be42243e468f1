-- The unchanging half of a job, with its model.
SELECT j.model, r.metadata, r.req FROM job_req r JOIN job j ON j.id = r.job WHERE r.job = ?1;
