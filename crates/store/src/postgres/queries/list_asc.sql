-- A stretch of a project's jobs, oldest first: how long it is, where it ends, and which of it fit a filter.
with stretch as materialized (
    select id, state, model, hidden_at from job where project = $1 and id > $2 order by id limit $3
)
select (select count(*) from stretch), (select id from stretch order by id desc limit 1),
       array (select s.id from stretch s
              where s.hidden_at is null and s.state between $4 and $5 and ($6::text is null or s.model = $6)
                and ($7::text is null or exists (select 1 from job_req r where r.job = s.id and r.metadata @> $7::jsonb))
              order by s.id limit $8);
