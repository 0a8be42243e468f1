-- For the log of deliveries.
INSERT INTO delivery_try (delivery, n, at, status, duration_ms, words) VALUES (?1, ?2, ?3, ?4, ?5, ?6);
