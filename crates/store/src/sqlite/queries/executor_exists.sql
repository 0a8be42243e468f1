-- Whether an incarnation is remembered.
SELECT 1 FROM executor WHERE id = ?1;
