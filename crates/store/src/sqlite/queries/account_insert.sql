-- A number for an account, unless it has one.
INSERT INTO account (name, provider) VALUES (?1, ?2) ON CONFLICT DO NOTHING;
