-- Whose a job is.
SELECT project FROM job WHERE id = ?1;
