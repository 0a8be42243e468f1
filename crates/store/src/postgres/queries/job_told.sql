-- The endpoint of a job's own webhook, if it has one; no row unless the project has the job and it is not hidden.
select (select endpoint from job_webhook where job = $1) from job where id = $1 and project = $2 and hidden_at is null;
