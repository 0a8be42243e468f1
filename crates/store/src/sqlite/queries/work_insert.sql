-- A job to be driven, queued, unless it is known already. Fences go on where the job's deleted rows left off.
INSERT INTO work (job, kind, ref, due_at, fence, pool, queued, priority, project)
SELECT id, 0, 0, ?2, fence_floor, ?3, 1, priority, project FROM job WHERE id = ?1
ON CONFLICT DO NOTHING;
