-- Gives a row back, never later than news already made it.
UPDATE work SET owner = NULL, due_at = min(due_at, ?4), pool = ?7, queued = ?8
WHERE job = ?1 AND kind = ?2 AND ref = ?3 AND owner = ?5 AND fence = ?6;
