-- Forgets jobs and what is left of them. How many, and the keys of their inputs. Durations that somebody else is trimming
-- go by themselves.
with ran as materialized (
    select d.model, d.finished_at, d.job
    from job j join duration d on d.model = j.model and d.finished_at = j.finished_at and d.job = j.id
    where j.id = any ($1::uuid[]) for update of d skip locked
),
durations as (
    delete from duration d using ran
    where d.model = ran.model and d.finished_at = ran.finished_at and d.job = ran.job
),
requests as (delete from job_req where job = any ($1) returning input_key),
attempts as (delete from attempt where job = any ($1)),
exchanges as (delete from exchange where job = any ($1)),
orphans as (delete from orphan where job = any ($1)),
keys as (delete from idem where job = any ($1)),
told as materialized (select id from delivery where job = any ($1) order by id for update),
tries as (delete from delivery_try where delivery = any (array(select id from told))),
deliveries as (delete from delivery where id = any (array(select id from told))),
hooks as (delete from job_webhook where job = any ($1)),
jobs as (delete from job where id = any ($1) returning id)
select (select count(*) from jobs), array(select input_key from requests where input_key is not null);
