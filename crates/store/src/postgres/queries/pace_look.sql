-- How far the paces are ahead.
select account, pool, tat_at from pace where (account, pool) in (select * from unnest($1::integer[], $2::integer[]));
