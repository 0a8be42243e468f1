-- Facts, with their places in the feed, and a delivery of each for everyone who wants to hear of it: the project's
-- endpoints, then the job's own.
with t as materialized (
    -- By way of queries: a plan made for their number would seem cheaper each time, and cost more than the insert.
    select * from unnest((select $1::uuid[]), (select $2::integer[]), (select $3::bigint[]), (select $4::smallint[]),
                         (select $5::bigint[]), (select $6::text[]))
        with ordinality as t(job, ver, project, type, at, body, place)
),
facts as (
    insert into event (job, ver, project, type, at, body)
    select job, ver, project, type, at, body from t order by place
),
listening as materialized (
    -- One probe for each project, bounded by how many it may have.
    select e.* from (select distinct project from t) p cross join lateral (
        select project, id, types from endpoint
        where project = p.project and url is not null and status <> 4 and status = 1 order by project, id limit 100
    ) e
)
insert into delivery (endpoint, job, ver, type, at, state, due_at, tries, begun_at)
select w.endpoint, w.job, w.ver, w.type, w.at, 1, w.at, 0, w.at
from (
    select t.job, t.ver, t.type, t.at, t.place, 0 as own, e.id as endpoint
    from t join listening e on e.project = t.project and (e.types >> t.type) & 1 = 1
    union all
    select t.job, t.ver, t.type, t.at, t.place, 1, h.endpoint from t cross join lateral (
        select endpoint from job_webhook where job = t.job and (types >> t.type) & 1 = 1 limit 1
    ) h
    where (select true from job_webhook order by job limit 1)
) w
order by w.place, w.own, w.endpoint
on conflict (job, endpoint, ver) do nothing;
