-- The number of the newest event there ever was: deleted ones keep theirs.
SELECT seq FROM sqlite_sequence WHERE name = 'event';
