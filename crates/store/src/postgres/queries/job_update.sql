-- The changing half of jobs. A job is hidden once; its fences only go up.
update job j
set state = t.state, ver = t.ver, code = t.code, message = t.message, finished_at = t.finished_at,
    deadline_at = t.deadline_at, cancel_at = t.cancel_at, cancel_outcome = t.cancel_outcome, progress = t.progress,
    first_attempt = t.first_attempt, attempts_used = t.attempts_used, unavailable_since = t.unavailable_since,
    hidden_at = coalesce(j.hidden_at, t.hidden_at), fence_floor = greatest(j.fence_floor, t.fence_floor)
from unnest($1::uuid[], $2::smallint[], $3::integer[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
            $9::smallint[], $10::smallint[], $11::integer[], $12::integer[], $13::bigint[], $14::bigint[], $15::bigint[])
    as t(id, state, ver, code, message, finished_at, deadline_at, cancel_at, cancel_outcome, progress, first_attempt,
         attempts_used, unavailable_since, hidden_at, fence_floor)
where j.id = t.id;
