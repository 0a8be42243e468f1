-- The theoretical arrival time of an account (pool 0) or a pool (account 0).
SELECT tat_at FROM pace WHERE account = ?1 AND pool = ?2;
