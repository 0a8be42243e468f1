-- When the next delivery can be taken: one probe for each endpoint that has anything pending.
WITH RECURSIVE waiting (endpoint) AS (
    SELECT min(endpoint) FROM delivery WHERE due_at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(d.endpoint) FROM delivery d WHERE d.due_at IS NOT NULL AND d.endpoint > w.endpoint)
    FROM waiting w WHERE w.endpoint IS NOT NULL
)
SELECT min(max((SELECT min(d.due_at) FROM delivery d WHERE d.endpoint = w.endpoint AND d.due_at IS NOT NULL),
               coalesce((SELECT e.open_until FROM endpoint e WHERE e.id = w.endpoint), 0)))
FROM waiting w WHERE w.endpoint IS NOT NULL;
