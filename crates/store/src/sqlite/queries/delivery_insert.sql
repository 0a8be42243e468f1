-- A new delivery, which was never tried.
INSERT INTO delivery (endpoint, job, ver, type, at, state, due_at, tries, begun_at)
VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, 0, ?6) ON CONFLICT DO NOTHING;
