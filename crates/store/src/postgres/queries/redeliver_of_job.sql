-- Makes a delivery of a job's event due again, with all its time, whatever became of it. The order of the columns is that of
-- rows/postgres.rs.
update delivery d set state = 1, due_at = n.at, begun_at = n.at
from (select coalesce($4::bigint, now_us()) as at) n,
     (select id from job where id = $2 and project = $3 and hidden_at is null) j
where d.id = $1 and d.job = j.id
returning d.id, d.endpoint, d.job, d.ver, d.type, d.at, d.state, d.due_at, d.tries, d.begun_at;
