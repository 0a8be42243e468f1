-- The newest incarnation there ever was.
SELECT coalesce(max(id), 0) FROM executor;
