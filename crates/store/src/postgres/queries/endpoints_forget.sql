-- Forgets at most $1 endpoints that their clients removed and of which no delivery is left. How many. An event that is told
-- at this moment, by a statement that still saw the endpoint, leaves a delivery of none: nobody takes or waits for that, and
-- it goes with its job.
with gone as materialized (
    select e.id from endpoint e
    where e.status = 4
      and (select true from delivery d where d.endpoint = e.id order by d.endpoint, d.id limit 1) is null
    order by e.id limit $1::bigint for update skip locked
),
forgotten as (delete from endpoint where id = any (array(select id from gone)) returning id)
select count(*) from forgotten;
