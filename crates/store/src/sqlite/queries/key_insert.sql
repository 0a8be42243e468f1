-- A new API key.
INSERT INTO api_key (name, project, hash, scopes, created_at, revoked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING id;
