-- Attempts of which nobody knows whether the provider has them.
select count(*) from attempt a
where a.account = $1 and a.state in (1, 2, 4, 6, 7) and (a.state in (1, 4)
    or (a.state = 6 and (a.intent_at >= $2
        or exists (select 1 from work w where w.job = a.job and w.kind = 2 and w.ref = a.n))));
