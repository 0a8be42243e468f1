-- The newest events of one job, newest first.
SELECT ver, type, at, body FROM event WHERE job = ?1 ORDER BY ver DESC LIMIT ?2;
