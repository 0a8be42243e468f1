-- Incarnations from before the quarantine that were given up without a proof of their end, and whether each is silent.
select id, host, boot_id, pid_namespace, pid, started_ticks, beat_at + ttl_us < (select coalesce($1::bigint, now_us()))
from executor
where dead_at is not null and process_dead_at is null
  and started_at < coalesce((select value::bigint from meta where key = 'quarantine'), 9223372036854775807)
order by started_at, id limit $2;
