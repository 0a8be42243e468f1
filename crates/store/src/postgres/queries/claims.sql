-- Work rows of one owner with their jobs, in the order asked for. `is not distinct from`: by the key, since no index of owners fits; one that seemed empty when the plan was made is read whole otherwise. The order of the columns is that of rows/postgres.rs.
select j.id, j.project, j.model, j.state, j.ver, j.code, j.message, j.created_at, j.finished_at, j.deadline_us, j.deadline_at,
       j.cancel_at, j.cancel_outcome, j.priority, j.progress, j.first_attempt, j.attempts_used, j.unavailable_since,
       a.n, a.state, a.executor, a.nonce, a.account, a.model, a.client_ref, a.provider_job, a.intent_at,
       a.send_deadline_at, a.resolved_at, a.reject_code, a.reject_message, a.reject_retry, a.reject_after_us, a.verdict,
       a.decided_by, a.request_ended_at,
       l.n, l.state, l.executor, l.nonce, l.account, l.model, l.client_ref, l.provider_job, l.intent_at,
       l.send_deadline_at, l.resolved_at, l.reject_code, l.reject_message, l.reject_retry, l.reject_after_us, l.verdict,
       l.decided_by, l.request_ended_at,
       w.job, w.kind, w.ref, w.fence
from unnest($1::uuid[], $2::smallint[], $3::bigint[]) with ordinality as t(job, kind, ref, place)
join work w on w.job = t.job and w.kind = t.kind and w.ref = t.ref and w.owner is not distinct from $4
join job j on j.id = t.job
left join lateral (select * from attempt where job = t.job order by n desc limit 1) a on true
left join attempt l on t.kind = 2 and l.job = t.job and l.n = t.ref
order by t.place;
