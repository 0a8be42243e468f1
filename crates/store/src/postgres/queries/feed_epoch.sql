-- The name of this database's history, and the cluster it was given in; and the cluster this is.
select (select value from meta where key = 'feed_epoch'), (select value from meta where key = 'feed_cluster'),
       (select system_identifier::text from pg_control_system());
