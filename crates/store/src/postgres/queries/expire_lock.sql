-- Jobs that a walk looks at, each for this call alone, in order; one that somebody is changing is passed over.
select j.id, j.created_at, j.finished_at from job j
where j.id = any ($1::uuid[]) order by j.id for update skip locked;
