-- Gives up the silent.
update executor set dead_at = $1 where dead_at is null and beat_at + ttl_us < $1;
