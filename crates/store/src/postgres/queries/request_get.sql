-- The unchanging half of a job, with its model.
select j.model, r.metadata::text, r.req from job_req r join job j on j.id = r.job where r.job = $1;
