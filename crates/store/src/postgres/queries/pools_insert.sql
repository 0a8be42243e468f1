-- Numbers for models of accounts that have none. The table is locked.
insert into pool (id, account, model)
select (select coalesce(max(id), 0) from pool) + row_number() over (order by t.place), t.account, t.model
from (select account, model, min(place) as place
      from unnest($1::integer[], $2::text[]) with ordinality as u(account, model, place) group by account, model) t
where not exists (select 1 from pool p where p.account = t.account and p.model = t.model);
