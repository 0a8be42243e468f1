-- Every project, in the order of walks.
SELECT id FROM project ORDER BY id;
