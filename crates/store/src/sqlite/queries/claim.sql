-- A work row with its job and the job's latest attempt. The order of the columns is that of rows.rs.
SELECT j.id, j.project, j.model, j.state, j.ver, j.code, j.message, j.created_at, j.finished_at, j.deadline_us, j.deadline_at,
       j.cancel_at, j.cancel_outcome, j.priority, j.progress, j.first_attempt, j.attempts_used, j.unavailable_since,
       a.n, a.state, a.executor, a.nonce, a.account, a.model, a.client_ref, a.provider_job, a.intent_at,
       a.send_deadline_at, a.resolved_at, a.reject_code, a.reject_message, a.reject_retry, a.reject_after_us, a.verdict,
       a.decided_by, a.request_ended_at,
       w.owner, w.fence
FROM work w
JOIN job j ON j.id = w.job
LEFT JOIN attempt a ON a.job = w.job AND a.n = (SELECT max(n) FROM attempt WHERE job = w.job)
WHERE w.job = ?1 AND w.kind = ?2 AND w.ref = ?3;
