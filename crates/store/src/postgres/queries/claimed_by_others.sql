-- Which provider jobs another attempt of the attempt's account, or an orphan of it, has.
select t.place,
       exists (select 1 from attempt o where o.account = a.account and o.provider_job = t.name
               and (o.job <> a.job or o.n <> a.n))
    or exists (select 1 from orphan o where o.account = a.account and o.provider_job = t.name)
from unnest($1::uuid[], $2::integer[], $3::text[]) with ordinality as t(job, n, name, place)
join attempt a on a.job = t.job and a.n = t.n;
