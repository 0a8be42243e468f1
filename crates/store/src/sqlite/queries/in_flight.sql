-- Attempts of an account that may still run at the provider, counted up to ?2: open while their job lives, or watched.
SELECT count(*) FROM (
    SELECT 1 FROM attempt a
    WHERE a.account = ?1 AND a.state IN (1, 2, 4, 6, 7)
      AND ((a.state IN (1, 2, 4) AND EXISTS (SELECT 1 FROM job j WHERE j.id = a.job AND j.state < 90))
        OR EXISTS (SELECT 1 FROM work w WHERE w.job = a.job AND w.kind = 2 AND w.ref = a.n))
    LIMIT ?2);
