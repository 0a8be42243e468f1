-- The API key with this hash.
SELECT id, name, project, hash, scopes, created_at, revoked_at FROM api_key WHERE hash = ?1 AND revoked_at IS NULL;
