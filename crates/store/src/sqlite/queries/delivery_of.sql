-- The delivery of an event for an endpoint.
SELECT id, endpoint, job, ver, type, at, state, due_at, tries, begun_at FROM delivery
WHERE job = ?1 AND ver = ?2 AND endpoint = ?3;
