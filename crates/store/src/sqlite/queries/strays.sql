-- Work of pools that nobody serves any more is anyone's to look at. Walks all of it, once at a start.
UPDATE work SET pool = 0, queued = 0, due_at = min(due_at, ?2)
WHERE owner IS NULL AND pool <> 0 AND pool NOT IN (SELECT value FROM json_each(?1));
