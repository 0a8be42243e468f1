-- Due, unowned work in the order in which it came due. The index holds all of it.
SELECT job, kind, ref FROM work
WHERE owner IS NULL AND lane = 0 AND due_at <= ?1
ORDER BY due_at, job, kind, ref LIMIT ?2;
