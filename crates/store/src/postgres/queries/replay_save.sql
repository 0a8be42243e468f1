-- Deliveries of events for an endpoint, in this order, as far as they are still there; those that exist are due again. How
-- many. `is not distinct from`: by the job, since an index by endpoint would go through its whole queue.
with now as materialized (select coalesce($6::bigint, now_us()) as at),
t as materialized (
    select t.* from unnest($2::uuid[], $3::integer[], $4::smallint[], $5::bigint[]) with ordinality
        as t(job, ver, type, at, place)
    where exists (select 1 from event e where e.job = t.job and e.ver = t.ver and e.at = t.at)
),
known as materialized (
    select d.id from t cross join lateral (
        select id from delivery where job = t.job and endpoint is not distinct from $1 and ver = t.ver limit 1
    ) d
),
locked as materialized (
    select id from delivery where id = any (array(select id from known)) order by id for no key update
),
again as (
    update delivery set state = 1, due_at = (select at from now), begun_at = (select at from now)
    where id = any (array(select id from locked))
),
made as (
    insert into delivery (endpoint, job, ver, type, at, state, due_at, tries, begun_at)
    select $1::bigint, t.job, t.ver, t.type, t.at, 1, now.at, 0, now.at from t, now
    where (select true from delivery k
           where k.job = t.job and k.endpoint is not distinct from $1 and k.ver = t.ver limit 1) is null
    order by t.place
    on conflict (job, endpoint, ver) do update
    set state = 1, due_at = excluded.due_at, begun_at = excluded.begun_at
)
select count(*) from t;
