-- The project that an account served last.
SELECT project FROM turn WHERE account = ?1;
