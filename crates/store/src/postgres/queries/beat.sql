-- The one sign of life, with the rows owned of each account.
update executor set beat_at = (select coalesce($2::bigint, now_us())), accounts = $3::integer[], loads = $4::integer[]
where id = $1 and dead_at is null;
