-- When the next delivery can be taken: one probe for each endpoint that has anything pending. What is of no endpoint
-- (endpoints_forget.sql) is never taken, so nobody waits for it.
with recursive waiting (endpoint) as (
    (select d.endpoint from delivery d where d.due_at is not null order by d.endpoint, d.due_at, d.id limit 1)
    union all
    select (select d.endpoint from delivery d where d.due_at is not null and d.endpoint > w.endpoint
            order by d.endpoint, d.due_at, d.id limit 1)
    from waiting w where w.endpoint is not null
)
select min(greatest((select d.due_at from delivery d where d.endpoint = w.endpoint and d.due_at is not null
                     order by d.endpoint, d.due_at, d.id limit 1),
                    e.open_until))
from waiting w cross join lateral (select open_until from endpoint where id = w.endpoint limit 1) e
where w.endpoint is not null;
