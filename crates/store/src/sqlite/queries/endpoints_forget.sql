-- Forgets at most ?1 endpoints that their clients removed and of which no delivery is left.
DELETE FROM endpoint WHERE id IN (
    SELECT e.id FROM endpoint e
    WHERE e.status = 4 AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.endpoint = e.id) ORDER BY e.id LIMIT ?1
);
