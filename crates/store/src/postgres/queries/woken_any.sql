-- Whether an own row was made due. One step down the index, however many rows are owned.
select 1 from work where owner = $1 and due_at <= (select coalesce($2::bigint, now_us())) order by due_at limit 1;
