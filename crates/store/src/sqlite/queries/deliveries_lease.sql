-- Those whose numbers are in the JSON list ?1 are being tried until ?2.
UPDATE delivery SET due_at = ?2 WHERE id IN (SELECT value FROM json_each(?1));
