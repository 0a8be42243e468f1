-- Deliveries that were tried, each for this call alone, in order, with their endpoints as they are; and the time. The order
-- of the columns is that of rows/postgres.rs.
select d.id, d.endpoint, d.job, d.ver, d.type, d.at, d.state, d.due_at, d.tries, d.begun_at,
       e.id, e.project, e.url, e.origin, e.types, e.description, e.status, e.salts, e.created_at, e.failures, e.open_until,
       coalesce($2::bigint, now_us())
from delivery d cross join lateral (select * from endpoint where id = d.endpoint limit 1) e
where d.id = any ($1::bigint[]) order by d.id for no key update of d;
