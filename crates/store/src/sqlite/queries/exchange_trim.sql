-- Keeps the newest ?2 of a job.
DELETE FROM exchange
WHERE job = ?1 AND id <= (SELECT id FROM exchange WHERE job = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2);
