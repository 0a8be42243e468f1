-- The last number among the next ?2 + 1 events: how far one scan of the feed goes.
SELECT seq FROM event WHERE seq > ?1 ORDER BY seq LIMIT 1 OFFSET ?2;
