-- What clients of a project made, the oldest first, without what they removed.
SELECT id, project, url, origin, types, description, status, salts, created_at, failures, open_until
FROM endpoint WHERE project = ?1 AND url IS NOT NULL AND status <> 4 ORDER BY id LIMIT ?2;
