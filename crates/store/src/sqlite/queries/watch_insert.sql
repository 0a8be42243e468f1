-- A late attempt has one watch row, in the pool it was made in; of a hidden job nobody wants what it yields.
INSERT INTO work (job, kind, ref, due_at, fence, pool, priority, project)
SELECT j.id, 2, ?2, ?3, j.fence_floor,
       coalesce((SELECT p.id FROM attempt a JOIN pool p ON p.account = a.account AND p.model = a.model
                 WHERE a.job = ?1 AND a.n = ?2), 0),
       j.priority, j.project
FROM job j WHERE j.id = ?1 AND j.hidden_at IS NULL
ON CONFLICT DO NOTHING;
