-- The number of a model of an account.
SELECT id FROM pool WHERE account = ?1 AND model = ?2;
