-- What tries made of deliveries: a JSON list of their numbers, states, due times or null, and how often they were tried.
UPDATE delivery SET state = t.state, due_at = t.due_at, tries = t.tries
FROM (SELECT value ->> 0 AS id, value ->> 1 AS state, value ->> 2 AS due_at, value ->> 3 AS tries FROM json_each(?1)) t
WHERE delivery.id = t.id;
