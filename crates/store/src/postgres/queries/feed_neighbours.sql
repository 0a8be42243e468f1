-- The events of a job around one of them, by number.
select e.job, e.project, e.ver, e.type, e.at, e.body, e.xid::text, e.seq from event e
where e.job = $1 and e.ver between $2::integer - 8 and $2 + 8
  and e.at between $3::bigint - 3600000000 and $3 + 3600000000
order by e.ver;
