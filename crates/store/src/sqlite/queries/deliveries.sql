-- Deliveries of an endpoint before one of them, the newest first.
SELECT id, endpoint, job, ver, type, at, state, due_at, tries, begun_at FROM delivery
WHERE endpoint = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3;
