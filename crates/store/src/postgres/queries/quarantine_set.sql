-- History before now may be missing.
insert into meta (key, value) select 'quarantine', coalesce($1::bigint, now_us())::text
on conflict (key) do update set value = excluded.value
returning value::bigint;
