-- A number for a project, unless it has one.
INSERT INTO project (name) VALUES (?1) ON CONFLICT DO NOTHING;
