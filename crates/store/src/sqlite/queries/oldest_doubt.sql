-- The oldest intent of an account about which somebody still finds out whether the provider has it.
SELECT min(a.intent_at) FROM attempt a
WHERE a.account = ?1 AND a.state IN (1, 2, 4, 6, 7) AND a.state IN (1, 4, 6)
  AND EXISTS (SELECT 1 FROM work w
              WHERE w.job = a.job AND ((w.kind = 0 AND a.state <> 6) OR (w.kind = 2 AND w.ref = a.n)));
