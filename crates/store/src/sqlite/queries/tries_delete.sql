-- Forgets the tries of a job's deliveries.
DELETE FROM delivery_try WHERE delivery IN (SELECT id FROM delivery WHERE job = ?1);
