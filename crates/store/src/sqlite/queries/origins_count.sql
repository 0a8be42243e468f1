-- How many origins of a project are told apart.
SELECT count(*) FROM endpoint WHERE project = ?1 AND origin > '' AND url IS NULL;
