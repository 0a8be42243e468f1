-- Forgets a job. What belongs to it is gone already.
DELETE FROM job WHERE id = ?1;
