-- The history of incarnations is bounded; kept are those that own work or have a submission in doubt.
delete from executor e
where e.dead_at < (select coalesce($1::bigint, now_us())) - $2::bigint and not exists (select 1 from work w where w.owner = e.id)
  and not exists (select 1 from attempt a where a.executor = e.id and a.state in (1, 2, 4, 6, 7));
