-- A new endpoint.
INSERT INTO endpoint (project, url, origin, types, description, status, salts, created_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id;
