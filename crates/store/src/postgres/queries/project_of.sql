-- Whose a job is.
select project from job where id = $1;
