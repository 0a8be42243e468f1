-- Whether a row names each object, or the one it was derived from, or it is an input of a job not hidden.
select exists (select 1 from artifact a where a.key = t.key or a.key = t.origin)
    or exists (select 1 from job_req r join job j on j.id = r.job
               where (r.input_key = t.key or r.input_key = t.origin) and j.hidden_at is null)
from unnest($1::text[], $2::text[]) with ordinality as t(key, origin, place) order by t.place;
