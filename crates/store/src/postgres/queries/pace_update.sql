-- Permits taken. The rows are locked.
update pace p set tat_at = t.tat_at from unnest($1::integer[], $2::integer[], $3::bigint[]) as t(account, pool, tat_at)
where p.account = t.account and p.pool = t.pool;
