-- How far a walk has come, and since when.
SELECT mark, restarted_at FROM retention WHERE project = ?1 AND kind = ?2;
