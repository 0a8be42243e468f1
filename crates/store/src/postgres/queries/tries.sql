-- Tries of deliveries, the oldest first.
select delivery, at, status, duration_ms, words from delivery_try where delivery = any ($1::bigint[]) order by delivery, n;
