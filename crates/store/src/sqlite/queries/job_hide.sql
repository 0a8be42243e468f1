-- Hidden by its client.
UPDATE job SET hidden_at = ?2 WHERE id = ?1;
