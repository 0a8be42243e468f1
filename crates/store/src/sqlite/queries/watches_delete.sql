-- Nobody waits for the late attempts of a hidden job.
DELETE FROM work WHERE job = ?1 AND kind = 2 RETURNING fence;
