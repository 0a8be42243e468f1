-- Their processes are provably gone: given up, and their sends are over.
update executor set dead_at = coalesce(dead_at, t.at), process_dead_at = coalesce(process_dead_at, t.at)
from (select coalesce($2::bigint, now_us()) as at) t where id = any ($1::bigint[]);
