-- The next jobs of a walk, up to the first that is too young; and of those that are over, have no work, and have something
-- of kind $5 (1 outputs, 2 events, 3 the job itself) when they finished. Most have nothing left, and are not locked in vain.
select w.id, case when w.finished_at <= $3 and not exists (select 1 from work x where x.job = w.id)
                   and case $5::smallint
                       when 1 then exists (select 1 from artifact a where a.job = w.id)
                       when 2 then exists (select 1 from event e where e.job = w.id
                                           and e.at >= w.created_at - 86400000000 and e.at <= $3)
                       else true end
             then w.finished_at end
from (
    select j.id, j.created_at, j.finished_at, bool_and(j.created_at <= $3::bigint) over (order by j.id) as old
    from (select id, created_at, finished_at from job where project = $1 and id > $2 order by id limit $4::bigint) j
) w
where w.old order by w.id;
