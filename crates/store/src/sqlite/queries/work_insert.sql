-- Something to be done, unless it is known already. Fences go on where the job's deleted rows left off.
INSERT INTO work (job, kind, ref, due_at, fence)
SELECT id, ?2, ?3, ?4, fence_floor FROM job WHERE id = ?1
ON CONFLICT DO NOTHING;
