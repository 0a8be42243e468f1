-- A person's word that the process is gone; not taken while it still beats.
update executor set process_dead_at = coalesce(process_dead_at, (select coalesce($2::bigint, now_us())))
where id = $1 and dead_at is not null;
