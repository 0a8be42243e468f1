-- Keeps the newest $1 of each model. Walks the models by steps down the index.
with recursive m(model) as (
    (select model from duration order by model limit 1)
    union all
    select (select d.model from duration d where d.model > m.model order by d.model limit 1) from m where m.model is not null
)
delete from duration d
using m
cross join lateral (select finished_at from duration where model = m.model
                    order by finished_at desc, job desc limit 1 offset $1) o
where d.model = m.model and d.finished_at < o.finished_at;
