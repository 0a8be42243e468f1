-- The newest exchanges of a job, newest first.
SELECT n, call, at, request, status, duration_ms, answer FROM exchange WHERE job = ?1 ORDER BY id DESC LIMIT ?2;
