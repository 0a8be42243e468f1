-- One event of a job.
SELECT ver, type, at, body FROM event WHERE job = ?1 AND ver = ?2;
