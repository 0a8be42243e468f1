-- Notes how far a walk has come.
INSERT INTO retention (project, kind, mark, restarted_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (project, kind) DO UPDATE SET mark = excluded.mark, restarted_at = excluded.restarted_at;
