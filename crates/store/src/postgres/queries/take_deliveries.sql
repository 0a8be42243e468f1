-- Takes due deliveries by giving them another due time, and ends those of endpoints that are told nothing any more, and of
-- suspect ones those whose time is over. $1 now or null, $2 at most so many, $3 of one endpoint, $4 what is left of that at
-- endpoints where some are under way, $5 the lease, $6 failures from which on an endpoint is suspect, $7 most endpoints
-- looked at, $8 how long a delivery lives. The order of the columns is that of rows/postgres.rs.
--
-- One probe finds each endpoint that has anything pending, so what waits at one that is left alone costs nothing. More
-- are looked for than are taken, since others may be taking the same ones at this moment; nobody waits for a lock. A take
-- that a crash of the database forgets is repeated. Values are used by way of a query, so that no plan depends on them,
-- and rows are found by arrays of keys, so that no plan that was made for few rows goes through many.
with recursive eased as materialized (select set_config('synchronous_commit', 'off', true)),
arg as materialized (
    select coalesce($1::bigint, now_us()) as at, $2::bigint as most, $3::bigint as of_one, $4::text::jsonb as busy,
           $5::bigint as lease, $6::bigint as suspect, $7::bigint as endpoints,
           coalesce($1::bigint, now_us()) - $8::bigint as begun_before
    from eased
),
waiting (endpoint) as (
    (select d.endpoint from delivery d where d.due_at is not null order by d.endpoint, d.due_at, d.id limit 1)
    union all
    select (select d.endpoint from delivery d where d.due_at is not null and d.endpoint > w.endpoint
            order by d.endpoint, d.due_at, d.id limit 1)
    from waiting w where w.endpoint is not null
),
ready as materialized (
    select e.id, u.under_way,
           case when e.status <> 1 then 4 when e.failures >= n.suspect and o.begun_at < n.begun_before then 3 end as ends,
           case when e.failures < n.suspect then least(n.of_one - u.under_way, n.most)
                when u.is_busy then 0 else least(1, n.most) end as room
    from arg n cross join waiting w
    cross join lateral (select * from endpoint where id = w.endpoint limit 1) e
    cross join lateral (
        select d.begun_at from delivery d where d.endpoint = w.endpoint and d.due_at is not null and d.due_at <= n.at
        order by d.endpoint, d.due_at, d.id limit 1
    ) o
    cross join lateral (
        select n.busy ? e.id::text as is_busy,
               n.of_one - least(n.of_one, coalesce((n.busy ->> e.id::text)::bigint, n.of_one)) as under_way
    ) u
    where e.status <> 1 or e.open_until <= n.at or (e.failures >= n.suspect and o.begun_at < n.begun_before)
    order by e.id limit (select endpoints from arg)
),
wanted as materialized (
    select array_agg(f.id order by f.rank, f.due_at, f.id) as ids
    from (
        select f.id, f.due_at, r.under_way + row_number() over (partition by r.id order by f.due_at, f.id) as rank
        from ready r cross join lateral (
            select d.id, d.due_at from delivery d
            where d.endpoint = r.id and d.due_at is not null and d.due_at <= (select at from arg)
              and (select true from delivery b
                   where b.job = d.job and b.endpoint = d.endpoint and b.ver < d.ver and b.state = 1 and b.tries = 0
                   order by b.job, b.endpoint, b.ver limit 1) is null
            order by d.endpoint, d.due_at, d.id limit r.room
        ) f
        where r.ends is null and r.room > 0
        order by rank, f.due_at, f.id limit (select most * 4 from arg)
    ) f
),
got as materialized (
    -- Written so that no index of due times seems to serve it.
    select d.id from delivery d
    where d.id = any ((select ids from wanted)::bigint[])
      and coalesce(d.due_at, 9223372036854775807) <= (select at from arg)
    order by array_position((select ids from wanted), d.id) limit (select most from arg) for update skip locked
),
taken as (
    update delivery set due_at = (select at + lease from arg) where id = any (array(select id from got))
    returning id, endpoint, job, ver, type, at, state, due_at, tries, begun_at
),
over as materialized (
    select o.id, r.ends from ready r cross join lateral (
        select d.id, d.begun_at from delivery d
        where d.endpoint = r.id and d.due_at is not null and d.due_at <= (select at from arg)
        order by d.endpoint, d.due_at, d.id limit (select most from arg) for update skip locked
    ) o
    where r.ends is not null and (r.ends = 4 or o.begun_at < (select begun_before from arg))
    limit (select most from arg)
),
disabled as (
    update delivery set state = 4, due_at = null where id = any (array(select id from over where ends = 4))
),
exhausted as (
    update delivery set state = 3, due_at = null where id = any (array(select id from over where ends = 3))
)
select d.id, d.endpoint, d.job, d.ver, d.type, d.at, d.state, d.due_at, d.tries, d.begun_at,
       e.id, e.project, e.url, e.origin, e.types, e.description, e.status, e.salts, e.created_at, e.failures, e.open_until,
       v.ver, v.type, v.at, v.body
from taken d
cross join lateral (select * from endpoint where id = d.endpoint limit 1) e
left join lateral (
    select ver, type, at, body from event where job = d.job and ver = d.ver and at = d.at limit 1
) v on true
order by array_position((select ids from wanted), d.id);
