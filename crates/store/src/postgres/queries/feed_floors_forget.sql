-- A new history has no readers from before its begin.
delete from feed_floor;
