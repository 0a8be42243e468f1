-- Forgets tries of a delivery up to a number.
DELETE FROM delivery_try WHERE delivery = ?1 AND n <= ?2;
