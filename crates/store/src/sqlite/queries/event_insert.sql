-- A fact. Its place in the feed is the order of commits, since there is one writer.
INSERT INTO event (job, ver, project, type, at, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6);
