-- Ends at most ?5 of the ?3 oldest due deliveries of an endpoint: those that began before ?4.
UPDATE delivery SET state = 3, due_at = NULL
WHERE id IN (SELECT id FROM (SELECT id, begun_at FROM delivery WHERE endpoint = ?1 AND due_at <= ?2
                             ORDER BY due_at, id LIMIT ?3)
             WHERE begun_at < ?4 LIMIT ?5);
