-- Provider jobs that no attempt accounts for, each once.
insert into orphan (account, provider_job, job, n, at)
select * from unnest($1::integer[], $2::text[], $3::uuid[], $4::integer[], $5::bigint[]) on conflict do nothing;
