-- The days of the feed that there are.
select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'event'::regclass;
