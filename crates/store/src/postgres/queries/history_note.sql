-- Notes it, and, where there was another before and it may lack commits, that history before now may be missing. One of many does.
with before as (select value from meta where key = 'history'),
     noted as (
         insert into meta (key, value) values ('history', $1)
         on conflict (key) do update set value = excluded.value where meta.value <> excluded.value
         returning key
     )
insert into meta (key, value)
select case when $2 and exists (select from before) then 'quarantine' else 'history_noted_at' end, now_us()::text from noted
on conflict (key) do update set value = excluded.value
returning key;
