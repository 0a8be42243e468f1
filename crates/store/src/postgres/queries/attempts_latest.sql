-- The latest attempt of each job; an open one is the latest. The order of the columns is that of rows/postgres.rs.
select a.job, a.n, a.state, a.executor, a.nonce, a.account, a.model, a.client_ref, a.provider_job, a.intent_at,
       a.send_deadline_at, a.resolved_at, a.reject_code, a.reject_message, a.reject_retry, a.reject_after_us, a.verdict,
       a.decided_by, a.request_ended_at
from unnest($1::uuid[]) as t(job) cross join lateral (select * from attempt where job = t.job order by n desc limit 1) a;
