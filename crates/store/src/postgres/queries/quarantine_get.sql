-- Until when history may be missing (rule R12), in microseconds.
select value::bigint from meta where key = 'quarantine';
