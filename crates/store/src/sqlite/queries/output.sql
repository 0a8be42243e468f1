-- The video of the newest attempt that yielded one.
SELECT attempt, n, key, bytes, sha256, media_type, width, height, duration_ms, frames, codec
FROM artifact WHERE job = ?1 AND n = 0 ORDER BY attempt DESC LIMIT 1;
