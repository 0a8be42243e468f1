-- Forgets the outputs of jobs.
delete from artifact where job = any ($1::uuid[]) returning key;
