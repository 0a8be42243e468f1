-- Due, unowned work of a pool in the order in which it came due.
SELECT job, kind, ref, due_at FROM work
WHERE owner IS NULL AND lane = 0 AND due_at < 9223372036854775807 AND pool = ?1 AND due_at <= ?2
ORDER BY due_at, job, kind, ref LIMIT ?3;
