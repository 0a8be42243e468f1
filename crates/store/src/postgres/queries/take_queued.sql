-- Queued rows as far as there is room; the function says how.
select job_id from take_queued($1, $2, $3, $4, $5, $6, $7) order by place;
