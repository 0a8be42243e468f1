create index concurrently if not exists idem_job on idem (job)
