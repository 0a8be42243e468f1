-- What became visible since a snapshot: what began behind it, and what was under way in it. A row seen by this statement
-- is visible in its snapshot, which is the next note. Days before the old note, but for an hour of slack, are not looked at.
with snapshot as materialized (
    select coalesce($4::bigint, now_us()) as at, s, pg_snapshot_xmin(s) as low from pg_current_snapshot() as s
),
settled as materialized (
    select e.xid, e.seq from event e
    where e.xid < (select low from snapshot) and e.at >= $2::bigint - 3600000000
    order by e.xid desc, e.seq desc limit 1
),
fresh as materialized (
    select e.job, e.project, e.ver, e.type, e.at, e.body, e.xid, e.seq from event e
    where e.xid >= pg_snapshot_xmax($1::text::pg_snapshot) and e.at >= $2 - 3600000000
    union all
    select e.job, e.project, e.ver, e.type, e.at, e.body, e.xid, e.seq from event e
    where e.xid = any (array(select pg_snapshot_xip($1::text::pg_snapshot))) and e.at >= $2 - 3600000000
    limit $3::bigint
)
select n.at, n.s::text, l.xid::text, l.seq, f.job, f.project, f.ver, f.type, f.at, f.body, f.xid::text, f.seq, false
from snapshot n left join settled l on true left join fresh f on true
order by f.seq;
