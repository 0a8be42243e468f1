-- As endpoint_get.sql, for this call alone.
select id, project, url, origin, types, description, status, salts, created_at, failures, open_until
from endpoint where id = $1 and project = $2 and url is not null and status <> 4 for no key update;
