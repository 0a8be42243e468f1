-- An endpoint. The order of the columns is that of rows/webhooks.rs.
SELECT id, project, url, origin, types, description, status, salts, created_at, failures, open_until
FROM endpoint WHERE id = ?1;
