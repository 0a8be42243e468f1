-- Events of a project among the next $4 behind a place in the feed, at most $5, as far as they are visible. With each, and
-- where there is none, the last place that was looked at, and whether there may be more behind it.
with page as materialized (
    select e.job, e.ver, e.project, e.type, e.at, e.xid, e.seq from event e
    where (e.xid, e.seq) > ($1::text::xid8, $2::bigint) order by e.xid, e.seq limit $4::bigint
),
last as materialized (select xid, seq, (select count(*) from page) = $4 as more from page order by xid desc, seq desc limit 1)
select l.xid::text, l.seq, l.more, p.job, p.ver, p.type, p.at
from last l left join (
    select * from page where project = $3 order by xid, seq limit $5::bigint
) p on true
order by p.xid, p.seq;
