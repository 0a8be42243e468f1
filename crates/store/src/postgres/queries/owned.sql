-- Every row of one executor.
select job, kind, ref, fence from work where owner = $1;
