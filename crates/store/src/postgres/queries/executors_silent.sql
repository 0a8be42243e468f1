-- Incarnations of a host that have been silent for longer than their ttl and whose end is not proved.
select id, host, boot_id, pid_namespace, pid, started_ticks, true
from executor
where host = $1 and process_dead_at is null and beat_at + ttl_us < (select coalesce($2::bigint, now_us()))
order by started_at desc, id desc limit $3;
