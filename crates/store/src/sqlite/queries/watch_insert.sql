-- A late attempt has one watch row; of a hidden job nobody wants what it yields.
INSERT INTO work (job, kind, ref, due_at, fence)
SELECT id, 2, ?2, ?3, fence_floor FROM job WHERE id = ?1 AND hidden_at IS NULL
ON CONFLICT DO NOTHING;
