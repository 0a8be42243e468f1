-- How long the newest completed jobs of a model ran.
SELECT max(finished_at - created_at, 0) FROM job WHERE model = ?1 AND state = 90
ORDER BY finished_at DESC, id DESC LIMIT ?2;
