-- Notes a fact unless one of its name is noted already; the one that holds.
insert into meta (key, value) values ($1, $2)
on conflict (key) do update set value = meta.value
returning value;
