-- Deliveries whose numbers are in the JSON list ?1, with their endpoints. The order of the columns is that of
-- rows/webhooks.rs.
SELECT d.id, d.endpoint, d.job, d.ver, d.type, d.at, d.state, d.due_at, d.tries, d.begun_at,
       e.id, e.project, e.url, e.origin, e.types, e.description, e.status, e.salts, e.created_at, e.failures, e.open_until
FROM json_each(?1) t CROSS JOIN delivery d ON d.id = t.value CROSS JOIN endpoint e ON e.id = d.endpoint;
