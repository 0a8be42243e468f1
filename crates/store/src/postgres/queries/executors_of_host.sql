-- Incarnations of a host whose end is not proved, and whether each has been silent for longer than its ttl.
select id, host, boot_id, pid_namespace, pid, started_ticks, beat_at + ttl_us < (select coalesce($2::bigint, now_us()))
from executor where host = $1 and process_dead_at is null order by started_at desc, id desc limit $3;
