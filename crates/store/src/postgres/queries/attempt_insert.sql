-- T2: intents.
insert into attempt (job, n, state, executor, nonce, account, model, client_ref, intent_at, send_deadline_at)
select * from unnest($1::uuid[], $2::integer[], $3::smallint[], $4::bigint[], $5::bigint[], $6::integer[], $7::text[],
                     $8::text[], $9::bigint[], $10::bigint[]);
