-- Whether this server takes writes.
select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean;
