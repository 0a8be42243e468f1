-- Incarnations that no later process has taken over from.
SELECT id, ttl_us, started_at FROM executor WHERE dead_at IS NULL;
