-- The endpoint that stands for an origin.
SELECT id FROM endpoint WHERE project = ?1 AND origin = ?2 AND url IS NULL;
