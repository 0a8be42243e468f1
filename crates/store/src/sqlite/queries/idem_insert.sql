-- Binds a client's key to its job.
INSERT INTO idem (project, key, fp, job, at) VALUES (?1, ?2, ?3, ?4, ?5);
