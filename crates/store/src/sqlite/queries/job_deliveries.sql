-- Deliveries of a job's events before one of them, the newest first. The pluses: they are found by the job, since an index by
-- id would go through everyone's.
SELECT id, endpoint, job, ver, type, at, state, due_at, tries, begun_at FROM delivery
WHERE job = ?1 AND +id < ?2 ORDER BY +id DESC LIMIT ?3;
