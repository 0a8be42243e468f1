-- The numbers of models of accounts.
select p.id from unnest($1::integer[], $2::text[]) with ordinality as t(account, model, place)
join pool p on p.account = t.account and p.model = t.model order by t.place;
