-- Tries of a delivery, the oldest first.
SELECT at, status, duration_ms, words FROM delivery_try WHERE delivery = ?1 ORDER BY n;
