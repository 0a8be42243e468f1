-- What live executors own of some accounts, and how many drive each.
select l.account, sum(l.rows)::bigint, count(*)::integer
from executor e cross join lateral unnest(e.accounts, e.loads) as l(account, rows)
where e.dead_at is null and l.account = any ($1::integer[])
group by l.account having count(*) > 1 order by l.account;
