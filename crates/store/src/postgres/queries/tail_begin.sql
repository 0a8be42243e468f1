-- The note of a tail that begins now: time, snapshot, the last settled place in the feed (of an event that was removed
-- since, if none younger is left), and the newest transaction that wrote an event.
select coalesce($1::bigint, now_us()), s::text, settled.xid::text, settled.seq, newest.xid::text
from pg_current_snapshot() as s
left join lateral (
    select l.xid, l.seq from (
        (select e.xid, e.seq from event e where e.xid < pg_snapshot_xmin(s) order by e.xid desc, e.seq desc limit 1)
        union all
        (select f.xid, f.seq from feed_floor f order by f.xid desc, f.seq desc limit 1)
    ) l
    order by l.xid desc, l.seq desc limit 1
) settled on true
left join lateral (select e.xid from event e order by e.xid desc, e.seq desc limit 1) newest on true;
