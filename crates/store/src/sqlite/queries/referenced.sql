-- Whether a row names the object ?1, or the object ?2 that it was derived from, or it is an input of a job not hidden.
SELECT EXISTS (SELECT 1 FROM artifact WHERE key IN (?1, ?2))
    OR EXISTS (SELECT 1 FROM job_req r JOIN job j ON j.id = r.job WHERE r.input_key IN (?1, ?2) AND j.hidden_at IS NULL);
