-- All API keys.
select id, name, project, hash, scopes, created_at, revoked_at from api_key order by id limit $1;
