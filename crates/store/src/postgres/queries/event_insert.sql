-- Facts. Their places in the feed are given here.
insert into event (job, ver, project, type, at, body)
select * from unnest($1::uuid[], $2::integer[], $3::bigint[], $4::smallint[], $5::bigint[], $6::text[]);
