-- Events of a project up to this one were removed.
INSERT INTO feed_floor (project, seq) VALUES (?1, ?2), (0, ?2)
ON CONFLICT (project) DO UPDATE SET seq = max(seq, excluded.seq);
