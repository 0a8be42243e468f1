-- A new incarnation.
insert into executor (host, boot_id, pid_namespace, pid, started_ticks, ttl_us, started_at, beat_at)
select $1, $2, $3, $4, $5, $6, t.at, t.at from (select coalesce($7::bigint, now_us()) as at) t
returning id;
