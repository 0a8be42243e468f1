-- Whether a job is there, hidden or not.
SELECT 1 FROM job WHERE id = ?1;
