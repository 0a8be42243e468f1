-- The endpoint that stands for an origin, or for all further ones where there are $4 of the project. Who adds one holds the
-- lock of it.
with wanted as materialized (
    select case when exists (select from endpoint where project = $1::bigint and origin = $2::text and url is null)
                  or (select count(*) from endpoint where project = $1 and url is null and origin > '') < $4::bigint
                then $2 else '' end as origin
),
known as materialized (
    select e.id from wanted w join endpoint e on e.project = $1 and e.origin = w.origin and e.url is null
),
made as (
    insert into endpoint (project, origin, types, description, status, salts, created_at)
    select $1, w.origin, $5::integer, '', 1, '[]', coalesce($3::bigint, now_us()) from wanted w
    where not exists (select from known)
    returning id
)
select id from known union all select id from made;
