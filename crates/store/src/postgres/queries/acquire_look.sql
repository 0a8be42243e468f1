-- Whether there is anything to take: a read, since it is asked often and mostly in vain. The last is no EXISTS, which may
-- become a join that reads the whole queue.
select coalesce($1::bigint, now_us()),
       exists (select 1 from executor where id = $2 and dead_at is null),
       exists (select 1 from unnest($3::integer[], $4::bigint[]) as p(pool, overdue_us)
               cross join lateral (select 1 from work w
                                   where w.owner is null and w.pool = p.pool and w.due_at < 9223372036854775807
                                     and w.due_at <= (select coalesce($1::bigint, now_us())) - p.overdue_us
                                   order by w.due_at limit 1) w),
       array (select p.pool from unnest($5::integer[]) as p(pool)
              where (select true from work w where w.owner is null and w.queued and w.pool = p.pool
                     order by w.priority desc limit 1));
