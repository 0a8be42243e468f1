-- Stored outputs. Storing again under a newer fence replaces one.
insert into artifact (job, attempt, n, key, bytes, sha256, media_type, width, height, duration_ms, frames, codec)
select * from unnest($1::uuid[], $2::integer[], $3::integer[], $4::text[], $5::bigint[], $6::bytea[], $7::text[],
                     $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[])
on conflict (job, attempt, n) do update
set key = excluded.key, bytes = excluded.bytes, sha256 = excluded.sha256, media_type = excluded.media_type,
    width = excluded.width, height = excluded.height, duration_ms = excluded.duration_ms, frames = excluded.frames,
    codec = excluded.codec;
