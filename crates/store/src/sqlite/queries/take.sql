-- A new owner under a higher fence; due never by itself, no longer queued. No row lock: SQLite has one writer.
UPDATE work SET owner = ?4, fence = fence + 1, due_at = 9223372036854775807, queued = 0
WHERE job = ?1 AND kind = ?2 AND ref = ?3 AND owner IS NULL;
