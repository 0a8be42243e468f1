-- The changing half of a delivery.
UPDATE delivery SET state = ?2, due_at = ?3, tries = ?4, begun_at = ?5 WHERE id = ?1;
