-- What clients of a project made, the oldest first, without what they removed. The order of the columns is that of
-- rows/postgres.rs.
select id, project, url, origin, types, description, status, salts, created_at, failures, open_until
from endpoint where project = $1 and url is not null and status <> 4 order by id limit $2;
