-- The newest incarnations, each with the attempts that only its end can settle. Walks the open attempts.
SELECT e.id, e.host, e.boot_id, e.pid_namespace, e.pid, e.started_ticks, e.started_at, e.dead_at, coalesce(d.attempts, 0)
FROM executor e
LEFT JOIN (
    SELECT executor, count(*) AS attempts FROM attempt WHERE state IN (1, 2, 4) AND state <> 2 GROUP BY executor
) d ON d.executor = e.id
ORDER BY e.id DESC LIMIT ?1;
