-- When the next delivery can be taken: one probe for each endpoint that has anything pending.
with recursive waiting (endpoint) as (
    (select d.endpoint from delivery d where d.due_at is not null order by d.endpoint, d.due_at, d.id limit 1)
    union all
    select (select d.endpoint from delivery d where d.due_at is not null and d.endpoint > w.endpoint
            order by d.endpoint, d.due_at, d.id limit 1)
    from waiting w where w.endpoint is not null
)
select min(greatest((select d.due_at from delivery d where d.endpoint = w.endpoint and d.due_at is not null
                     order by d.endpoint, d.due_at, d.id limit 1),
                    coalesce(e.open_until, 0)))
from waiting w left join lateral (select open_until from endpoint where id = w.endpoint limit 1) e on true
where w.endpoint is not null;
