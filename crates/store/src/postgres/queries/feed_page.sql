-- Settled events behind a place in the feed, of one project or of all, among the next $4, at most $5; with each the
-- snapshot's ends, whether events behind the place were removed, and the number of removals, also where there is none.
-- `odd`: a later event of its job stands before it in the feed, or an earlier one behind it.
with snapshot as materialized (
    select pg_snapshot_xmin(s) as low, pg_snapshot_xmax(s) as high,
           case when $3::bigint is null
                then exists (select 1 from feed_floor f where (f.xid, f.seq) > ($1::text::xid8, $2::bigint))
                else exists (select 1 from feed_floor f
                             where f.project = $3 and (f.xid, f.seq) > ($1::text::xid8, $2::bigint)) end as expired,
           (select value from meta where key = 'feed_removals') as removals
    from pg_current_snapshot() as s
),
page as materialized (
    select p.* from (
        select e.job, e.ver, e.project, e.type, e.at, e.body, e.xid, e.seq from event e
        where (e.xid, e.seq) > ($1::text::xid8, $2::bigint) and e.xid < (select low from snapshot)
        order by e.xid, e.seq limit $4::bigint
    ) p
    where $3::bigint is null or p.project = $3
    order by p.xid, p.seq limit $5::bigint
)
select s.low::text, s.high::text, p.job, p.project, p.ver, p.type, p.at, p.body, p.xid::text, p.seq,
       exists (select 1 from event n
               where n.job = p.job and n.ver between p.ver - 8 and p.ver + 8
                 and n.at between p.at - 3600000000 and p.at + 3600000000
                 and case when n.ver < p.ver then n.xid > p.xid else n.xid < p.xid end),
       s.expired, s.removals
from snapshot s left join page p on true
order by p.xid, p.seq;
