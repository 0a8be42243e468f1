-- Events of one job after a number. Days before the job's own, but for one of slack, are not looked at.
select ver, type, at, body from event
where job = $1 and ver > $2
  and at >= coalesce((select created_at - 86400000000 from job where id = $1), 0)
order by ver limit $3;
