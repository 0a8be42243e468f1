-- Whether there is anything to reap: a read. Of work no EXISTS, which may become a join that reads it whole.
select exists (select 1 from executor where dead_at is null and beat_at + ttl_us < t.at)
    or exists (select 1 from executor e where e.dead_at is not null
               and (select true from work w where w.owner = e.id order by w.due_at limit 1))
    or exists (select 1 from pool p
               where ((select true from work w where w.owner is null and w.queued and w.pool = p.id
                       order by w.priority desc limit 1)
                   or (select true from work w where w.owner is null and w.due_at < 9223372036854775807 and w.pool = p.id
                       order by w.due_at limit 1))
                 and not exists (select 1 from executor e
                                 where t.at < e.beat_at + $2 and p.account = any (e.accounts)))
from (select coalesce($1::bigint, now_us()) as at) t;
