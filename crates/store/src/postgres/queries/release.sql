-- Gives rows back, never later than news already made them. Locked in order first. `is not distinct from`: by the key, since no index of owners fits; one that seemed empty when the plan was made is read whole otherwise.
with mine as materialized (
    select w.job, w.kind, w.ref, t.due_at, t.pool, t.queued
    from unnest($2::uuid[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[], $8::boolean[])
        as t(job, kind, ref, fence, due_at, pool, queued)
    join work w on w.job = t.job and w.kind = t.kind and w.ref = t.ref
    where w.owner is not distinct from $1 and w.fence = t.fence
    order by w.job, w.kind, w.ref for update of w
)
update work w set owner = null, due_at = least(w.due_at, mine.due_at), pool = mine.pool, queued = mine.queued
from mine where w.job = mine.job and w.kind = mine.kind and w.ref = mine.ref
returning w.queued;
