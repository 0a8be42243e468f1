-- What is known of an attempt; the rest of the row never changes.
UPDATE attempt
SET state = ?3, provider_job = ?4, resolved_at = ?5, reject_code = ?6, reject_message = ?7, reject_retry = ?8,
    reject_after_us = ?9, verdict = ?10, decided_by = ?11, request_ended_at = ?12
WHERE job = ?1 AND n = ?2;
