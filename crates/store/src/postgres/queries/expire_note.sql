-- How far walks have come.
insert into retention (project, kind, mark, restarted_at)
select * from unnest($1::bigint[], $2::smallint[], $3::uuid[], $4::bigint[])
on conflict (project, kind) do update set mark = excluded.mark, restarted_at = excluded.restarted_at;
