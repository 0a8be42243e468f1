-- Attempts of which nobody knows whether the provider has them. All states of the index are named, so that it is used.
SELECT count(*) FROM attempt a
WHERE a.account = ?1 AND a.state IN (1, 2, 4, 6, 7) AND (a.state IN (1, 4)
    OR (a.state = 6 AND (a.intent_at >= ?2 OR EXISTS (SELECT 1 FROM work w WHERE w.job = a.job AND w.kind = 2 AND w.ref = a.n))));
