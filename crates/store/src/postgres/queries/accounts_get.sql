-- The numbers of accounts.
select a.id from unnest($1::text[], $2::text[]) with ordinality as t(name, provider, place)
join account a on a.name = t.name and a.provider = t.provider order by t.place;
