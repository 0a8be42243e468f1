-- Deliveries of a job's events before one of them, the newest first. They are found by the job before anything is known of
-- their order, since an index by id would go through everyone's. The order of the columns is that of rows/postgres.rs.
with own as materialized (
    select id, endpoint, job, ver, type, at, state, due_at, tries, begun_at from delivery where job = $1
)
select * from own where id < $2 order by id desc limit $3;
