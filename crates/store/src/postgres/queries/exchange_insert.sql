-- For the timeline.
insert into exchange (job, n, call, at, request, status, duration_ms, answer)
select * from unnest($1::uuid[], $2::integer[], $3::text[], $4::bigint[], $5::text[], $6::integer[], $7::bigint[],
                     $8::text[]);
