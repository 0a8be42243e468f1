-- For the timeline.
INSERT INTO exchange (job, n, call, at, request, status, duration_ms, answer) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8);
