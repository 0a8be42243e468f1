-- At a restart: no owner, a higher fence, due soon.
UPDATE work SET owner = NULL, fence = fence + 1, due_at = ?4 WHERE job = ?1 AND kind = ?2 AND ref = ?3;
