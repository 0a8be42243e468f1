-- Work of pools that nobody serves any more is anyone's to look at, but for what waits for news only. Walks all of it, once
-- at a start.
UPDATE work SET pool = 0, queued = 0, due_at = min(due_at, ?2)
WHERE owner IS NULL AND pool <> 0 AND (queued = 1 OR due_at < 9223372036854775807)
  AND pool NOT IN (SELECT value FROM json_each(?1));
