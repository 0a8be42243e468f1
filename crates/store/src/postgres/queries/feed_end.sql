-- The last place among the next $4 + 1 of the feed below a horizon: how far one scan goes.
select e.xid::text, e.seq from event e
where (e.xid, e.seq) > ($1::text::xid8, $2::bigint) and e.xid < $3::text::xid8
order by e.xid, e.seq limit 1 offset $4::bigint;
