-- Which model of which account a pool is.
SELECT account, model FROM pool WHERE id = ?1;
