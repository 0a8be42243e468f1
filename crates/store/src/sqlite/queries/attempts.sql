-- Every attempt of a job. The order of the columns is that of rows.rs.
SELECT n, state, executor, nonce, account, model, client_ref, provider_job, intent_at, send_deadline_at, resolved_at,
       reject_code, reject_message, reject_retry, reject_after_us, verdict, decided_by,
       request_ended_at
FROM attempt WHERE job = ?1 ORDER BY n;
