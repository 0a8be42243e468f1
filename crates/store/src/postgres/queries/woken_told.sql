-- Own rows that news made due; each is told once.
with told as materialized (
    select job, kind, ref, due_at from work
    where owner = $1 and due_at <= (select coalesce($2::bigint, now_us()))
    order by due_at, job, kind, ref limit $3 for update skip locked
)
update work w set due_at = 9223372036854775807 from told
where w.job = told.job and w.kind = told.kind and w.ref = told.ref
returning w.job, w.kind, w.ref, told.due_at;
