-- Own rows that news made due.
SELECT job, kind, ref FROM work
WHERE owner = ?1 AND due_at <= ?2
ORDER BY due_at, job, kind, ref LIMIT ?3;
