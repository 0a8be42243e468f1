-- Unfinished jobs by state. Walks the work rows, which only they have.
select j.state, count(*) from work w join job j on j.id = w.job where w.kind = 0 and w.ref = 0 group by j.state;
