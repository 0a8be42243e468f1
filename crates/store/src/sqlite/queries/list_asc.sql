-- Jobs of a project between two ids that fit a filter, oldest first.
SELECT j.id FROM job j
WHERE j.project = ?1 AND j.hidden_at IS NULL AND j.id > ?2 AND j.id <= ?3
  AND j.state BETWEEN ?4 AND ?5
  AND (?6 IS NULL OR j.model = ?6)
  AND (?7 IS NULL OR NOT EXISTS (
      SELECT 1 FROM json_each(?7) f
      WHERE NOT EXISTS (
          SELECT 1 FROM job_req r, json_each(r.metadata) m
          WHERE r.job = j.id AND m.key = f.key AND m.value = f.value)))
ORDER BY j.id LIMIT ?8;
