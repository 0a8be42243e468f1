-- Which of these jobs an older doubt may still be compared with: an attempt of which somebody still finds out whether the
-- provider has it, at the same account, begun before the job ended. Of the waived, which are many, only the watched count:
-- those are found from their work.
with own as materialized (
    select t.id, t.finished_at, a.account
    from unnest($1::uuid[], $2::bigint[]) as t(id, finished_at) join attempt a on a.job = t.id
),
doubt as materialized (
    select d.account, min(d.intent_at) as intent_at from (
        select a.account, a.intent_at from attempt a
        where a.account = any (array(select distinct account from own)) and a.state in (1, 2, 4, 6, 7) and a.state in (1, 4)
          and exists (select 1 from work w where w.job = a.job and (w.kind = 0 or (w.kind = 2 and w.ref = a.n)))
        union all
        select a.account, a.intent_at from work w join attempt a on a.job = w.job and a.n = w.ref
        where w.kind = 2 and a.state = 6
    ) d
    group by d.account
)
select distinct o.id from own o join doubt d on d.account = o.account and d.intent_at < o.finished_at + $3::bigint;
