-- Jobs as readers see them, in the order asked for. The order of the columns is that of rows/postgres.rs.
select j.id, j.project, j.model, j.state, j.ver, j.code, j.message, j.created_at, j.finished_at, j.deadline_us, j.deadline_at,
       j.cancel_at, j.cancel_outcome, j.priority, j.progress, j.first_attempt, j.attempts_used, j.unavailable_since,
       a.n, a.state, a.executor, a.nonce, a.account, a.model, a.client_ref, a.provider_job, a.intent_at,
       a.send_deadline_at, a.resolved_at, a.reject_code, a.reject_message, a.reject_retry, a.reject_after_us, a.verdict,
       a.decided_by, a.request_ended_at,
       j.hidden_at is not null, r.metadata::text, r.req,
       o.attempt, o.n, o.key, o.bytes, o.sha256, o.media_type, o.width, o.height, o.duration_ms, o.frames, o.codec
from unnest($1::uuid[]) with ordinality as t(id, place)
join job j on j.id = t.id
left join job_req r on r.job = t.id
left join lateral (select * from attempt where job = t.id order by n desc limit 1) a on true
left join lateral (select * from artifact where job = t.id and n = 0 order by attempt desc limit 1) o on true
order by t.place;
