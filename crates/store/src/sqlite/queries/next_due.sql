-- When the next unowned row comes due.
SELECT due_at FROM work WHERE owner IS NULL AND lane = 0 ORDER BY due_at LIMIT 1;
