-- A new history begins, in this cluster.
insert into meta (key, value) values ('feed_epoch', $1), ('feed_cluster', $2)
on conflict (key) do update set value = excluded.value;
