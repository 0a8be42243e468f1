-- A new API key. The table is locked.
insert into api_key (id, name, project, hash, scopes, created_at, revoked_at)
select coalesce(max(id), 0) + 1, $1::text, $2::bigint, $3::bytea, $4::text[], $5::bigint, $6::bigint from api_key
returning id;
