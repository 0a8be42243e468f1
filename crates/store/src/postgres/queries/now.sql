-- The time of a change: the given one, or the database's, asked for when the locks are held.
select coalesce($1::bigint, now_us());
