-- The changing half of a job.
UPDATE job
SET state = ?2, ver = ?3, code = ?4, message = ?5, finished_at = ?6, deadline_at = ?7, cancel_at = ?8,
    cancel_outcome = ?9, progress = ?10, first_attempt = ?11, attempts_used = ?12, unavailable_since = ?13
WHERE id = ?1;
