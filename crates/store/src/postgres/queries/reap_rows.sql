-- Takes rows of the dead: no owner, a higher fence, due soon, and not all at the same moment.
with lost as materialized (
    select w.* from executor e
    cross join lateral (
        select job, kind, ref from work where owner = e.id order by due_at limit $2 for update skip locked
    ) w
    where e.dead_at is not null limit $2
), many as materialized (select count(*) as rows from lost)
update work w
set owner = null, fence = w.fence + 1, queued = false,
    due_at = $1 + case when many.rows < 100 then 0 else floor(random() * least(2000000, many.rows * 400))::bigint end
from lost, many where w.job = lost.job and w.kind = lost.kind and w.ref = lost.ref;
