-- The video of the newest attempt that yielded one, of each job.
select o.job, o.attempt, o.n, o.key, o.bytes, o.sha256, o.media_type, o.width, o.height, o.duration_ms, o.frames, o.codec
from unnest($1::uuid[]) as t(job)
cross join lateral (select * from artifact where job = t.job and n = 0 order by attempt desc limit 1) o;
