-- Events of one job after a number.
SELECT ver, type, at, body FROM event WHERE job = ?1 AND ver > ?2 ORDER BY ver LIMIT ?3;
