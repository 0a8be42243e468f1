-- As in_flight, for one model of an account.
SELECT count(*) FROM (
    SELECT 1 FROM attempt a
    WHERE a.account = ?1 AND a.model = ?3 AND a.state IN (1, 2, 4, 6, 7)
      AND ((a.state IN (1, 2, 4) AND EXISTS (SELECT 1 FROM job j WHERE j.id = a.job AND j.state < 90))
        OR EXISTS (SELECT 1 FROM work w WHERE w.job = a.job AND w.kind = 2 AND w.ref = a.n))
    LIMIT ?2);
