-- The API key with this hash.
select id, name, project, hash, scopes, created_at, revoked_at from api_key where hash = $1 and revoked_at is null;
