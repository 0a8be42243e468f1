-- Endpoints of which something is due and that are not left alone now, each with the time at which its oldest due delivery
-- began; found by one probe for each that has anything pending, however much that is. One that is left alone is among them
-- where the time of that delivery is over, for a suspect one: ?2 is how many failures make it one, ?3 what began before then.
WITH RECURSIVE waiting (endpoint) AS (
    SELECT min(endpoint) FROM delivery WHERE due_at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(d.endpoint) FROM delivery d WHERE d.due_at IS NOT NULL AND d.endpoint > w.endpoint)
    FROM waiting w WHERE w.endpoint IS NOT NULL
),
oldest (endpoint, begun_at) AS MATERIALIZED (
    SELECT w.endpoint, (SELECT d.begun_at FROM delivery d WHERE d.endpoint = w.endpoint AND d.due_at <= ?1
                        ORDER BY d.due_at, d.id LIMIT 1)
    FROM waiting w
)
SELECT e.id, e.project, e.url, e.origin, e.types, e.description, e.status, e.salts, e.created_at, e.failures,
       e.open_until, o.begun_at
FROM oldest o CROSS JOIN endpoint e ON e.id = o.endpoint
WHERE o.begun_at IS NOT NULL AND (e.status <> 1 OR e.open_until <= ?1 OR (e.failures >= ?2 AND o.begun_at < ?3))
LIMIT ?4;
