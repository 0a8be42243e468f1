-- T1, all of it in one statement: the time, which is answered, is the same for all rows.
with now as materialized (select coalesce($1::bigint, now_us()) as at),
new as materialized (
    select * from unnest($2::uuid[], $3::bigint[], $4::text[], $5::smallint[], $6::bigint[], $7::integer[], $8::text[],
                         $9::text[], $10::bytea[], $11::text[])
        as t(id, project, model, priority, deadline_us, pool, metadata, input_key, req, body)
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
