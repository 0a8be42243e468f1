-- A new incarnation.
INSERT INTO executor (host, boot_id, pid_namespace, pid, started_ticks, ttl_us, started_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING id;
