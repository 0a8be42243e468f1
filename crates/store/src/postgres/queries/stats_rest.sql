-- Late attempts, orphans, work that is due without an owner, and executors that beat within their ttl.
select (select count(*) from work where kind = 2),
       (select count(*) from orphan),
       (select count(*) from work where owner is null and due_at < 9223372036854775807
        and due_at <= (select coalesce($1::bigint, now_us()))),
       (select count(*) from executor
        where dead_at is null and (select coalesce($1::bigint, now_us())) <= beat_at + ttl_us);
