-- The history of incarnations is bounded.
DELETE FROM executor WHERE id <= ?1;
