-- The note of a tail that begins now: time, snapshot, the last settled place in the feed, and the newest transaction that
-- wrote an event.
select coalesce($1::bigint, now_us()), s::text, settled.xid::text, settled.seq, newest.xid::text
from pg_current_snapshot() as s
left join lateral (select e.xid, e.seq from event e where e.xid < pg_snapshot_xmin(s)
                   order by e.xid desc, e.seq desc limit 1) settled on true
left join lateral (select e.xid from event e order by e.xid desc, e.seq desc limit 1) newest on true;
