-- At a restart: no owner, a higher fence, due soon, whatever it waited for.
UPDATE work SET owner = NULL, fence = fence + 1, due_at = ?4, queued = 0 WHERE job = ?1 AND kind = ?2 AND ref = ?3;
