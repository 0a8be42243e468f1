-- Which provider jobs an attempt or an orphan of the account has.
select exists (select 1 from attempt a where a.account = $1 and a.provider_job = t.name)
    or exists (select 1 from orphan o where o.account = $1 and o.provider_job = t.name)
from unnest($2::text[]) with ordinality as t(name, place) order by t.place;
