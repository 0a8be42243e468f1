-- The last id among the next ?3 + 1 of a project, newest first: how far one scan goes.
SELECT id FROM job WHERE project = ?1 AND hidden_at IS NULL AND id < ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3;
