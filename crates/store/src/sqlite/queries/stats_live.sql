-- Unfinished jobs by state. Walks the work rows, which only they have.
SELECT j.state, count(*) FROM work w JOIN job j ON j.id = w.job WHERE w.kind = 0 AND w.ref = 0 GROUP BY j.state;
