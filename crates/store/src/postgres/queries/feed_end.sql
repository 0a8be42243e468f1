-- Where a page that holds fewer events than asked for ends, below a horizon: behind the last place among the next $4 + 1,
-- or, where there are fewer, behind the last place there is. And the number of removals.
select (select value from meta where key = 'feed_removals'), f.xid::text, f.seq, l.xid::text, l.seq
from (values (1)) as one(n)
left join lateral (
    select e.xid, e.seq from event e
    where $5::boolean and (e.xid, e.seq) > ($1::text::xid8, $2::bigint) and e.xid < $3::text::xid8
    order by e.xid, e.seq limit 1 offset $4::bigint
) f on true
left join lateral (
    select e.xid, e.seq from event e where f.xid is null and e.xid < $3::text::xid8 order by e.xid desc, e.seq desc limit 1
) l on true;
