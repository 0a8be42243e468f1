-- A delivery.
SELECT id, endpoint, job, ver, type, at, state, due_at, tries, begun_at FROM delivery WHERE id = ?1;
