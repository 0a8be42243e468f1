-- How long the newest completed jobs of a model ran.
select us from duration where model = $1 order by finished_at desc, job desc limit $2;
