-- T2: the intent.
INSERT INTO attempt (job, n, state, executor, nonce, account, model, client_ref, intent_at, send_deadline_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10);
