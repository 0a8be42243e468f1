-- Jobs of a project behind an id, hidden ones too: how old they are, when they finished, and whether work remains.
SELECT id, created_at, finished_at, EXISTS (SELECT 1 FROM work w WHERE w.job = job.id) AS busy FROM job
WHERE project = ?1 AND hidden_at IS NULL AND id > ?2
UNION ALL
SELECT id, created_at, finished_at, EXISTS (SELECT 1 FROM work w WHERE w.job = job.id) AS busy FROM job
WHERE project = ?1 AND hidden_at IS NOT NULL AND id > ?2
ORDER BY id LIMIT ?3;
