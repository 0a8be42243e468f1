-- What a client's key stands for.
SELECT fp, job FROM idem WHERE project = ?1 AND key = ?2;
