-- The jobs of a call, each for this call alone, in order. The order of the columns is that of rows/postgres.rs.
select j.id, j.project, j.model, j.state, j.ver, j.code, j.message, j.created_at, j.finished_at, j.deadline_us, j.deadline_at,
       j.cancel_at, j.cancel_outcome, j.priority, j.progress, j.first_attempt, j.attempts_used, j.unavailable_since,
       j.hidden_at is not null, j.fence_floor
from job j where j.id = any ($1::uuid[]) order by j.id for no key update;
