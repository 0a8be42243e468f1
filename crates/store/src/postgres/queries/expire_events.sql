-- Forgets events of jobs from a time to a time, and notes from where on the feed is whole. How many. `feed_removals` tells
-- a reader of two statements whether anything went between them.
with gone as (
    delete from event e using unnest($1::uuid[], $2::bigint[], $3::bigint[]) as t(job, from_at, until_at)
    where e.job = t.job and e.at >= t.from_at and e.at <= t.until_at
    returning e.project, e.xid, e.seq
),
noted as (
    insert into feed_floor (project, xid, seq)
    select distinct on (g.project) g.project, g.xid, g.seq from gone g order by g.project, g.xid desc, g.seq desc
    on conflict (project) do update set xid = excluded.xid, seq = excluded.seq
    where (feed_floor.xid, feed_floor.seq) < (excluded.xid, excluded.seq)
),
told as (
    insert into meta (key, value) select 'feed_removals', '1' where exists (select from gone)
    on conflict (key) do update set value = (meta.value::bigint + 1)::text
)
select count(*) from gone;
