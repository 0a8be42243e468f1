-- A number for a model of an account, unless it has one.
INSERT INTO pool (account, model) VALUES (?1, ?2) ON CONFLICT DO NOTHING;
