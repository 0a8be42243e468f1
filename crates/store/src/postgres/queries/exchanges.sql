-- The newest exchanges of a job, newest first.
select n, call, at, request, status, duration_ms, answer from exchange where job = $1 order by id desc limit $2;
