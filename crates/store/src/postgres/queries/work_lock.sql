-- The work rows of locked jobs. A statement of its own: it sees what was committed while the jobs were waited for.
select job, kind, ref, owner, fence, due_at, pool, queued
from work where job = any ($1::uuid[]) and kind in (0, 2) order by job, kind, ref for update;
