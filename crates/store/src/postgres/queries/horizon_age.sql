-- For how many microseconds the oldest transaction that writes has been under way: until it ends, the feed settles no
-- further. Those of other users are seen by members of pg_read_all_stats.
select coalesce((extract(epoch from clock_timestamp() - min(t.at)) * 1000000)::bigint, 0)
from (select xact_start as at from pg_stat_activity where backend_xid is not null
      union all select prepared from pg_prepared_xacts) t;
