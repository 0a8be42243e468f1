-- The newest event of a project, or with 0 of any, that was removed.
SELECT seq FROM feed_floor WHERE project = ?1;
