-- The number of an account.
SELECT id FROM account WHERE name = ?1 AND provider = ?2;
