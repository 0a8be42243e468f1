-- The days of the feed that are over, oldest first; and of those that ended $2 microseconds ago, whether they are empty.
with now as materialized (select coalesce($1::bigint, now_us()) as at),
day as materialized (
    select d.name, d.from_at, d.from_at + 86400000000 as until_at from (
        select c.relname::text as name,
               case when c.relname ~ '^event_[0-9]{8}$'
                    then extract(epoch from to_date(substr(c.relname::text, 7), 'YYYYMMDD')::timestamp)::bigint * 1000000
               end as from_at
        from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'event'::regclass
    ) d
)
select n.at, d.name, d.from_at, d.until_at,
       case when d.until_at + $2::bigint <= n.at then
           (select e.seq from event e where e.at >= d.from_at and e.at < d.until_at order by e.xid, e.seq limit 1) is null
       else false end
from now n join day d on d.until_at <= n.at
order by d.from_at;
