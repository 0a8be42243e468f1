-- A stored output. Storing again under a newer fence replaces it.
INSERT OR REPLACE INTO artifact
    (job, attempt, n, key, bytes, sha256, media_type, width, height, duration_ms, frames, codec)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12);
