-- Told once.
UPDATE work SET due_at = 9223372036854775807 WHERE job = ?1 AND kind = ?2 AND ref = ?3;
