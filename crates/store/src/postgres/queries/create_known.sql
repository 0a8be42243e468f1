-- What repeated creates stand for: by the client's key, else by the job's id.
select t.place, i.fp, i.job, j.id
from unnest($1::bigint[], $2::text[], $3::uuid[]) with ordinality as t(project, key, job, place)
left join idem i on i.project = t.project and i.key = t.key
left join job j on j.id = t.job
where i.job is not null or j.id is not null;
