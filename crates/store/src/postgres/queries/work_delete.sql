-- Done. The fences stay with the jobs.
delete from work w using unnest($1::uuid[], $2::smallint[], $3::bigint[]) as t(job, kind, ref)
where w.job = t.job and w.kind = t.kind and w.ref = t.ref;
