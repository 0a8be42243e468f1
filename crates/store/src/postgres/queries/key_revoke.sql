-- Revoking again keeps the first time.
update api_key set revoked_at = coalesce(revoked_at, (select coalesce($2::bigint, now_us()))) where id = $1;
