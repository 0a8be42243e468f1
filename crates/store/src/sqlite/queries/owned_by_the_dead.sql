-- At a restart: every row that had an owner, at most ?1.
SELECT job, kind, ref FROM work WHERE owner IS NOT NULL LIMIT ?1;
