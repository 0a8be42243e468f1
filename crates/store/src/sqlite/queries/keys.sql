-- All API keys.
SELECT id, name, project, hash, scopes, created_at, revoked_at FROM api_key ORDER BY id LIMIT ?1;
