-- The changing half of an endpoint.
update endpoint
set url = $2, types = $3, description = $4, status = $5, salts = $6, failures = $7, open_until = $8 where id = $1;
