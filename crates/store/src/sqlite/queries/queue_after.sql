-- What waits in a pool with a priority, of the projects after ?3.
SELECT job, kind, ref, priority, project FROM work
WHERE owner IS NULL AND queued = 1 AND pool = ?1 AND priority = ?2 AND project > ?3
ORDER BY project, job, kind, ref LIMIT 1;
