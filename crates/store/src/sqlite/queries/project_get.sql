-- The number of a project.
SELECT id FROM project WHERE name = ?1;
