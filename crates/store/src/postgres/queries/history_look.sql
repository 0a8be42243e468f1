-- Which history this is: what the database noted, and cluster and timeline as they are.
select (select value from meta where key = 'history'),
       (select system_identifier::text from pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);
