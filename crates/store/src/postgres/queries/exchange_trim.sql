-- Keeps the newest $2 of each job.
delete from exchange e
using unnest($1::uuid[]) as t(job)
cross join lateral (select id from exchange where job = t.job order by id desc limit 1 offset $2) o
where e.job = t.job and e.id <= o.id;
