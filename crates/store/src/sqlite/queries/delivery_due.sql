-- Due deliveries of an endpoint with their events, the oldest first; not those of a job whose earlier event is pending there
-- and was never tried. The order of the columns is that of rows/webhooks.rs.
SELECT d.id, d.endpoint, d.job, d.ver, d.type, d.at, d.state, d.due_at, d.tries, d.begun_at, v.ver, v.type, v.at, v.body
FROM delivery d LEFT JOIN event v ON v.job = d.job AND v.ver = d.ver
WHERE d.endpoint = ?1 AND d.due_at <= ?2
  AND NOT EXISTS (SELECT 1 FROM delivery b
                  WHERE b.job = d.job AND b.endpoint = d.endpoint AND b.ver < d.ver AND b.state = 1 AND b.tries = 0)
ORDER BY d.due_at, d.id LIMIT ?3;
