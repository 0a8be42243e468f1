-- The same for models of accounts.
select p.id, p.account, p.model, (select count(*) from (
    select 1 from attempt a
    where a.account = p.account and a.model = p.model and a.state in (1, 2, 4, 6, 7)
      and ((a.state in (1, 2, 4) and exists (select 1 from job j where j.id = a.job and j.state < 90))
        or exists (select 1 from work w where w.job = a.job and w.kind = 2 and w.ref = a.n))
    limit t.most) x)
from unnest($1::integer[], $2::bigint[]) as t(pool, most) join pool p on p.id = t.pool;
