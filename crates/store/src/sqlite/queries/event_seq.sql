-- The place in the feed of an event of a project.
SELECT seq FROM event WHERE job = ?1 AND ver = ?2 AND project = ?3;
