-- T1, all of it in one statement: the time, which is answered, is the same for all rows.
with now as materialized (select coalesce($1::bigint, now_us()) as at),
new as materialized (
    -- By way of queries: a plan made for their number would seem cheaper each time, and cost more than the insert.
    select * from unnest((select $2::uuid[]), (select $3::bigint[]), (select $4::text[]), (select $5::smallint[]),
                         (select $6::bigint[]), (select $7::integer[]), (select $8::text[]), (select $9::text[]),
                         (select $10::bytea[]), (select $11::text[]), (select $16::bigint[]), (select $17::integer[]))
        with ordinality as t(id, project, model, priority, deadline_us, pool, metadata, input_key, req, body, hook, hook_types, place)
),
-- The last to run, since PostgreSQL begins with the last: a create that finds its job there gives no numbers away.
hooks as (
    insert into job_webhook (job, endpoint, types) select id, hook, hook_types from new where hook is not null
),
listening as materialized (
    -- One probe for each project, bounded by how many it may have.
    select e.* from (select distinct project from new) p cross join lateral (
        select project, id from endpoint
        where project = p.project and url is not null and status <> 4 and status = 1 and (types >> 1) & 1 = 1
        order by project, id limit 100
    ) e
),
told as (
    insert into delivery (endpoint, job, ver, type, at, state, due_at, tries, begun_at)
    select w.endpoint, w.id, 1, 1, now.at, 1, now.at, 0, now.at
    from (
        select n.place, 0 as own, e.id as endpoint, n.id from new n join listening e on e.project = n.project
        union all
        select n.place, 1, n.hook, n.id from new n where n.hook is not null and (n.hook_types >> 1) & 1 = 1
    ) w, now
    order by w.place, w.own, w.endpoint
    on conflict (job, endpoint, ver) do nothing
),
keys as (
    insert into idem (project, key, fp, job, at)
    select t.project, t.key, t.fp, t.job, now.at
    from unnest($12::bigint[], $13::text[], $14::bytea[], $15::uuid[]) as t(project, key, fp, job), now
),
jobs as (
    insert into job (id, project, model, state, ver, created_at, deadline_us, deadline_at, priority)
    select id, project, model, 10, 1, now.at, deadline_us, now.at + deadline_us, priority from new, now
),
requests as (
    insert into job_req (job, metadata, input_key, req) select id, metadata::jsonb, input_key, req from new
),
facts as (
    insert into event (job, ver, project, type, at, body) select id, 1, project, 1, now.at, body from new, now
),
todo as (
    insert into work (job, kind, ref, due_at, pool, queued, priority, project)
    select id, 0, 0, case when pool = 0 then now.at else coalesce(now.at + deadline_us, 9223372036854775807) end, pool,
           true, priority, project
    from new, now
)
select at from now;
