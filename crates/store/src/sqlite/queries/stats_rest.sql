-- Late attempts, orphans, and work that is due without an owner.
SELECT (SELECT count(*) FROM work WHERE kind = 2),
       (SELECT count(*) FROM orphan),
       (SELECT count(*) FROM work
        WHERE owner IS NULL AND lane = 0 AND due_at < 9223372036854775807 AND due_at <= ?1);
