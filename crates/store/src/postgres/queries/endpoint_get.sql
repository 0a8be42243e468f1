-- An endpoint that a client made, and has not removed. The order of the columns is that of rows/postgres.rs.
select id, project, url, origin, types, description, status, salts, created_at, failures, open_until
from endpoint where id = $1 and project = $2 and url is not null and status <> 4;
