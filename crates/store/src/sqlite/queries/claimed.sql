-- Whether another attempt of the account, or an orphan of it, has this provider job.
SELECT EXISTS (SELECT 1 FROM attempt WHERE account = ?1 AND provider_job = ?2 AND NOT (job IS ?3 AND n IS ?4))
    OR EXISTS (SELECT 1 FROM orphan WHERE account = ?1 AND provider_job = ?2);
