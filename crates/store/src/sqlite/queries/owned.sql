-- Every row of one executor.
SELECT job, kind, ref, fence FROM work WHERE owner = ?1;
