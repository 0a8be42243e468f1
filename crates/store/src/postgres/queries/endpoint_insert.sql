-- An endpoint of a client, unless there are $7 of its project. Who adds one holds the lock of it.
insert into endpoint (project, url, origin, types, description, status, salts, created_at)
select $1::bigint, $2::text, '', $3::integer, $4::text, 1, $5::text, coalesce($6::bigint, now_us())
where (select count(*) from endpoint where project = $1 and url is not null and status <> 4) < $7::bigint
returning id, project, url, origin, types, description, status, salts, created_at, failures, open_until;
