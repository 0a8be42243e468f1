-- What tries made of deliveries and endpoints, and the tries themselves, of which $15 are kept of each delivery.
with deliveries as (
    update delivery d set state = t.state, due_at = t.due_at, tries = t.tries
    from unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[]) as t(id, state, due_at, tries)
    where d.id = any ($1) and d.id = t.id
),
endpoints as (
    update endpoint e set status = t.status, failures = t.failures, open_until = t.open_until
    from unnest($5::bigint[], $6::smallint[], $7::bigint[], $8::bigint[]) as t(id, status, failures, open_until)
    where e.id = any ($5) and e.id = t.id
),
forgotten as (
    delete from delivery_try y using unnest($1::bigint[], $4::bigint[]) as t(id, tries)
    where y.delivery = any ($1) and y.delivery = t.id and y.n <= t.tries - $15::bigint
)
insert into delivery_try (delivery, n, at, status, duration_ms, words)
select * from unnest($9::bigint[], $10::bigint[], $11::bigint[], $12::integer[], $13::bigint[], $14::text[]);
