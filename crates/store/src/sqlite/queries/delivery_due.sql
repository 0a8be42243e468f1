-- Due deliveries of an endpoint, the oldest first; not those of a job whose earlier event is pending there and was never
-- tried. The order of the columns is that of rows/webhooks.rs.
SELECT id, endpoint, job, ver, type, at, state, due_at, tries, begun_at
FROM delivery d
WHERE endpoint = ?1 AND due_at <= ?2
  AND NOT EXISTS (SELECT 1 FROM delivery b
                  WHERE b.job = d.job AND b.endpoint = d.endpoint AND b.ver < d.ver AND b.state = 1 AND b.tries = 0)
ORDER BY due_at, id LIMIT ?3;
