-- The newest incarnations, with the attempts that only their end can settle.
select e.id, e.host, e.boot_id, e.pid_namespace, e.pid, e.started_ticks, e.started_at, e.beat_at, e.dead_at,
       e.process_dead_at, coalesce(d.in_doubt, 0)
from (select * from executor order by started_at desc, id desc limit $1) e
left join (select executor, count(*) as in_doubt from attempt
           where state in (1, 2, 4, 6, 7) and state in (1, 4) group by executor) d on d.executor = e.id
order by e.started_at desc, e.id desc;
