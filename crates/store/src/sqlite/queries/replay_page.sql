-- Names of a project's events between two numbers.
SELECT seq, job, ver FROM event WHERE seq > ?1 AND seq <= ?2 AND project = ?3 ORDER BY seq LIMIT ?4;
