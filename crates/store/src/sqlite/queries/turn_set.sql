-- The project that an account served last.
INSERT INTO turn (account, project) VALUES (?1, ?2) ON CONFLICT (account) DO UPDATE SET project = excluded.project;
