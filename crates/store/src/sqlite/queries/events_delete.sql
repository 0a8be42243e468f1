-- Forgets the events of a job until a time.
DELETE FROM event WHERE job = ?1 AND at <= ?2 RETURNING seq;
