-- Numbers for accounts that have none. The table is locked.
insert into account (id, name, provider)
select (select coalesce(max(id), 0) from account) + row_number() over (order by t.place), t.name, t.provider
from (select name, provider, min(place) as place
      from unnest($1::text[], $2::text[]) with ordinality as u(name, provider, place) group by name, provider) t
where not exists (select 1 from account a where a.name = t.name and a.provider = t.provider);
