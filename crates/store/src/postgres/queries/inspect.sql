-- What this server is and how it is set.
select current_setting('server_version'),
       (extract(epoch from clock_timestamp()) * 1000000)::bigint,
       current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint,
       (select count(*) from pg_stat_activity where backend_type = 'client backend'),
       current_setting('synchronous_standby_names'),
       (select count(*) from pg_stat_replication),
       (select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')),
       coalesce((select extract(epoch from max(clock_timestamp() - xact_start))::bigint from pg_stat_activity
                 where backend_xmin is not null or backend_xid is not null), 0);
