-- The last place in the feed below a horizon.
select e.xid::text, e.seq from event e where e.xid < $1::text::xid8 order by e.xid desc, e.seq desc limit 1;
