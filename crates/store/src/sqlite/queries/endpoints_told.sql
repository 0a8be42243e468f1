-- Who wants to hear of an event: the project's endpoints, then the job's own.
SELECT id FROM endpoint
WHERE project = ?1 AND url IS NOT NULL AND status <> 4 AND status = 1 AND (types >> ?2) & 1 = 1
UNION ALL
SELECT endpoint FROM job_webhook WHERE job = ?3 AND (types >> ?2) & 1 = 1;
