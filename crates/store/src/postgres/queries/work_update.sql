-- Woken or given back. The rows are locked.
update work w set owner = t.owner, due_at = t.due_at, pool = t.pool, queued = t.queued
from unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[], $7::boolean[])
    as t(job, kind, ref, owner, due_at, pool, queued)
where w.job = t.job and w.kind = t.kind and w.ref = t.ref;
