-- At a restart: what went before is gone.
UPDATE executor SET dead_at = ?1 WHERE dead_at IS NULL;
