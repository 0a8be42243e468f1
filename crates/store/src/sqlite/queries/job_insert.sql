-- T1.
INSERT INTO job (id, project, model, state, ver, created_at, deadline_us, deadline_at, priority)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9);
