-- Endpoints by number, each for this call alone, in order: behind the locks of deliveries. The order of the columns is that
-- of rows/postgres.rs.
select id, project, url, origin, types, description, status, salts, created_at, failures, open_until
from endpoint where id = any ($1::bigint[]) order by id for no key update;
