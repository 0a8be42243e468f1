-- The place in the feed of an event of a project. Days before the job's own, but for one of slack, are not looked at.
select xid::text, seq from event
where job = $1 and ver = $2 and project = $3
  and at >= coalesce((select created_at - 86400000000 from job where id = $1), 0)
limit 1;
