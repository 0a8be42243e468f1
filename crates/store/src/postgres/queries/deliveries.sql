-- Deliveries of an endpoint before one of them, the newest first. The order of the columns is that of rows/postgres.rs.
select id, endpoint, job, ver, type, at, state, due_at, tries, begun_at from delivery
where endpoint = $1 and id < $2 order by endpoint desc, id desc limit $3;
