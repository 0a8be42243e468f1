-- Ends due deliveries of an endpoint that is told nothing any more.
UPDATE delivery SET state = 4, due_at = NULL
WHERE id IN (SELECT id FROM delivery WHERE endpoint = ?1 AND due_at <= ?2 ORDER BY due_at, id LIMIT ?3);
