-- New work rows of the job start above the fences of the old ones.
UPDATE job SET fence_floor = max(fence_floor, ?2) WHERE id = ?1;
