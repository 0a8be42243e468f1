-- Notes the places of the next $3 events of a day that is about to go, as if they were removed. How many there were; null
-- where somebody else is at it.
with turn as materialized (select pg_try_advisory_xact_lock(5207801930028) as ours),
start as materialized (
    select coalesce((select xid from feed_day where from_at = $1), '0'::xid8) as xid,
           coalesce((select seq from feed_day where from_at = $1), -1) as seq
),
chunk as materialized (
    select e.project, e.xid, e.seq from event e
    where (select ours from turn) and e.at >= $1::bigint and e.at < $2::bigint
      and (e.xid, e.seq) > ((select xid from start), (select seq from start))
    order by e.xid, e.seq limit $3::bigint
),
noted as (
    insert into feed_floor (project, xid, seq)
    select distinct on (c.project) c.project, c.xid, c.seq from chunk c order by c.project, c.xid desc, c.seq desc
    on conflict (project) do update set xid = excluded.xid, seq = excluded.seq
    where (feed_floor.xid, feed_floor.seq) < (excluded.xid, excluded.seq)
),
kept as (
    insert into feed_day (from_at, xid, seq)
    select $1, c.xid, c.seq from chunk c order by c.xid desc, c.seq desc limit 1
    on conflict (from_at) do update set xid = excluded.xid, seq = excluded.seq
)
select case when (select ours from turn) then (select count(*) from chunk) end;
