-- A provider job that no attempt accounts for, once.
INSERT INTO orphan (account, provider_job, job, n, at) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING;
