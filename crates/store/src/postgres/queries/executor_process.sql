-- The process of an incarnation, whether its end is proved, and whether it has been silent for longer than its ttl.
select id, host, boot_id, pid_namespace, pid, started_ticks, beat_at + ttl_us < (select coalesce($2::bigint, now_us())),
       process_dead_at is not null
from executor where id = $1;
