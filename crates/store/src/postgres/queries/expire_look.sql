-- The walks of retention that have a job to look at, or begin anew, in order; and the time, also where there is none. One
-- index probe for each project and kind. $2 is how long each kind is kept, $3 the same for projects with policies of their
-- own, null is for ever; $4 is the length of a round. Whole jobs wait for the index by which keys are found.
with now as materialized (select coalesce($1::bigint, now_us()) as at),
policy as materialized (
    select $2::bigint[] as usual, $3::text::jsonb as own,
           exists (select from pg_index where indexrelid = to_regclass('idem_job') and indisvalid) as indexed
)
select n.at, w.project, w.kind, w.cutoff, w.mark, w.restarted_at, w.found
from now n left join lateral (
    select p.id as project, k.kind::smallint, n.at - kept.us as cutoff, place.mark,
           case when place.anew then n.at else r.restarted_at end as restarted_at,
           coalesce(first.created_at <= n.at - kept.us, false) as found
    from project p cross join policy c cross join generate_series(1, 3) as k(kind)
    cross join lateral (
        select case when c.own ? p.id::text then (c.own -> p.id::text ->> (k.kind - 1))::bigint else c.usual[k.kind] end as us
    ) kept
    left join retention r on r.project = p.id and r.kind = k.kind
    cross join lateral (
        select coalesce(r.restarted_at + $4::bigint <= n.at, true) as anew,
               case when r.restarted_at + $4::bigint > n.at then r.mark
                    else '00000000-0000-0000-0000-000000000000' end as mark
    ) place
    left join lateral (
        select j.created_at from job j where j.project = p.id and j.id > place.mark order by j.id limit 1
    ) first on true
    where kept.us is not null and (place.anew or first.created_at <= n.at - kept.us) and (k.kind < 3 or c.indexed)
    order by p.id, k.kind limit $5::bigint
) w on true
order by w.project, w.kind;
