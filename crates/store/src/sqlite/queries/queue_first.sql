-- What waits in a pool: the first row of the highest priority.
SELECT job, kind, ref, priority, project FROM work
WHERE owner IS NULL AND queued = 1 AND pool = ?1
ORDER BY priority DESC, project, job, kind, ref LIMIT 1;
