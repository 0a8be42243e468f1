-- What is visible behind a place in the feed, settled or not; columns as in tail_snapshot.sql. `odd`: later events of its
-- job stand before it in the feed.
with snapshot as materialized (
    select coalesce($4::bigint, now_us()) as at, s, pg_snapshot_xmin(s) as low from pg_current_snapshot() as s
),
settled as materialized (
    select e.xid, e.seq from event e where e.xid < (select low from snapshot)
    order by e.xid desc, e.seq desc limit 1
),
fresh as materialized (
    select e.job, e.project, e.ver, e.type, e.at, e.body, e.xid, e.seq from event e
    where (e.xid, e.seq) > ($1::text::xid8, $2::bigint)
    limit $3::bigint
)
select n.at, n.s::text, l.xid::text, l.seq, f.job, f.project, f.ver, f.type, f.at, f.body, f.xid::text, f.seq,
       exists (select 1 from event o
               where o.job = f.job and o.ver between f.ver + 1 and f.ver + 8 and o.xid < f.xid
                 and o.at between f.at - 3600000000 and f.at + 3600000000)
from snapshot n left join settled l on true left join fresh f on true
order by f.seq;
