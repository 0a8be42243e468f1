-- Whether an own row was made due. One step down the index, however many rows are owned.
SELECT 1 FROM work WHERE owner = ?1 AND due_at <= ?2 LIMIT 1;
