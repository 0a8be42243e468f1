-- The limits of a call, each for this call alone, in order.
select account, pool, tat_at from pace
where (account, pool) in (select * from unnest($1::integer[], $2::integer[])) order by account, pool for update;
