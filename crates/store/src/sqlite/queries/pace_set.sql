-- The theoretical arrival time of an account (pool 0) or a pool (account 0).
INSERT INTO pace (account, pool, tat_at) VALUES (?1, ?2, ?3)
ON CONFLICT (account, pool) DO UPDATE SET tat_at = excluded.tat_at;
