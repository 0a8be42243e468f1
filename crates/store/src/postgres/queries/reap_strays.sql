-- What nobody serves is anyone's to look at.
with served as materialized (
    select distinct a.account from executor e cross join lateral unnest(e.accounts) as a(account)
    where $1 < e.beat_at + $3
), stray as materialized (
    select w.job, w.kind, w.ref from pool p
    cross join lateral (
        select * from (select job, kind, ref from work
                       where owner is null and pool = p.id and due_at < 9223372036854775807
                       order by due_at, job, kind, ref limit $2 for update skip locked) d
        union all
        select * from (select job, kind, ref from work
                       where owner is null and pool = p.id and queued limit $2 for update skip locked) q
    ) w
    where p.account not in (select account from served) limit 2 * $2
)
update work w set pool = 0, queued = false, due_at = least(w.due_at, $1)
from stray where w.job = stray.job and w.kind = stray.kind and w.ref = stray.ref;
