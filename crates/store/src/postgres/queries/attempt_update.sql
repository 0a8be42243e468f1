-- What is known of attempts; the rest of a row never changes.
update attempt a
set state = t.state, provider_job = t.provider_job, resolved_at = t.resolved_at, reject_code = t.reject_code,
    reject_message = t.reject_message, reject_retry = t.reject_retry, reject_after_us = t.reject_after_us,
    verdict = t.verdict, decided_by = t.decided_by, request_ended_at = t.request_ended_at
from unnest($1::uuid[], $2::integer[], $3::smallint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::smallint[],
            $9::bigint[], $10::smallint[], $11::text[], $12::bigint[])
    as t(job, n, state, provider_job, resolved_at, reject_code, reject_message, reject_retry, reject_after_us, verdict,
         decided_by, request_ended_at)
where a.job = t.job and a.n = t.n;
