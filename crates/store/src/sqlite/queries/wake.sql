-- Makes the job's rows due, but for those that executor ?3 owns.
UPDATE work SET due_at = ?2
WHERE job = ?1 AND kind IN (0, 2) AND (owner IS NULL OR owner IS NOT ?3) AND due_at > ?2;
