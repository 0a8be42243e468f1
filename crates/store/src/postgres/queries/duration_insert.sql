-- How long completed jobs ran.
insert into duration (model, finished_at, job, us)
select * from unnest($1::text[], $2::bigint[], $3::uuid[], $4::bigint[]) on conflict do nothing;
