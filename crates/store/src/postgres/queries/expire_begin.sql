-- One at a time; who comes second leaves it to the first.
select pg_try_advisory_xact_lock(5207801930028);
