-- A new incarnation.
INSERT INTO executor (host, pid, ttl_us, started_at) VALUES (?1, ?2, ?3, ?4) RETURNING id;
