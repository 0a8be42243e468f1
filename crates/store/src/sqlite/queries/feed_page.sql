-- Events between two numbers, of one project or of all.
SELECT ver, type, at, body, job, project, seq FROM event
WHERE seq > ?1 AND seq <= ?2 AND (?3 IS NULL OR project = ?3)
ORDER BY seq LIMIT ?4;
