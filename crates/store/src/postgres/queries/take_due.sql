-- Due, unowned rows of some pools in the order in which they came due: a new owner under a higher fence.
with due as materialized (
    select w.* from unnest($2::integer[], $3::bigint[]) as p(pool, overdue_us)
    cross join lateral (
        select job, kind, ref, due_at from work
        where owner is null and pool = p.pool and due_at < 9223372036854775807 and due_at <= $1::bigint - p.overdue_us
        order by due_at, job, kind, ref limit $4 for update skip locked
    ) w
    order by w.due_at, w.job, w.kind, w.ref limit $4
)
update work w set owner = $5, fence = w.fence + 1, due_at = 9223372036854775807, queued = false
from due where w.job = due.job and w.kind = due.kind and w.ref = due.ref
returning w.job, w.kind, w.ref, due.due_at;
