-- Something to be done. Without a pool, the one of the account and model is looked up.
insert into work (job, kind, ref, due_at, fence, pool, queued, priority, project)
select t.job, t.kind, t.ref, t.due_at, t.fence,
       coalesce(t.pool, (select p.id from pool p where p.account = t.account and p.model = t.model), 0), t.queued,
       t.priority, t.project
from unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[], $7::integer[],
            $8::text[], $9::boolean[], $10::smallint[], $11::bigint[])
    as t(job, kind, ref, due_at, fence, pool, account, model, queued, priority, project)
on conflict do nothing;
