-- Forgets the outputs of a hidden job.
delete from artifact where job = $1 returning attempt, n, key;
