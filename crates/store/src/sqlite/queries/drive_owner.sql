-- Who drives a job.
SELECT owner FROM work WHERE job = ?1 AND kind = 0 AND ref = 0;
