-- Rows to lock and to pace by, for accounts (pool 0) and pools (account 0) that have limits.
insert into pace (account, pool) select * from unnest($1::integer[], $2::integer[]) on conflict do nothing;
