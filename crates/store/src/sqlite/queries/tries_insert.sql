-- For the log of deliveries: a JSON list of deliveries, numbers of their tries, times, statuses or null, durations and words.
INSERT INTO delivery_try (delivery, n, at, status, duration_ms, words)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?1);
