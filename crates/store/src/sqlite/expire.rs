//! What the policies no longer keep: a walk per project and kind, in the order of ids, a bounded piece per transaction.
//!
//! Everything is found by a key. Removed pages are used again; the file does not shrink.

use std::collections::{BTreeMap, BTreeSet};

use longtake_core::artifact::ArtifactKey;
use longtake_core::id::{AccountId, JobId, ProjectId};
use longtake_core::retention::{Expired, Keep, Kind, Retention};
use longtake_core::time::Timestamp;
use rusqlite::{Result, Row, params};

use super::change::Change;
use super::{load, reads, sql};
use crate::rows::job_id;

/// Before every job.
const BEGIN: [u8; 16] = [0; 16];

/// A job that a walk passes.
struct Seen {
    job: JobId,
    created_at: Timestamp,
    /// When it finished, if it has, and nothing remains to be done for it.
    over: Option<Timestamp>,
}

/// One call under way.
struct Call<'a, 'c> {
    change: &'a Change<'c>,
    expired: Expired,
    /// The oldest doubt of each account that was asked for. No call changes it: what it removes has no work row.
    doubts: BTreeMap<AccountId, Option<Timestamp>>,
}

impl Change<'_> {
    /// Looks at `limit` jobs at most.
    pub fn expire(&self, policy: &Retention, limit: usize) -> Result<Expired> {
        let mut call = Call { change: self, expired: Expired::default(), doubts: BTreeMap::new() };
        let mut left = limit;
        let projects = load::all(self.connection, sql::PROJECTS, [], |row| row.get(0).map(ProjectId))?;
        for (project, kind) in projects.into_iter().flat_map(|project| Kind::ALL.map(|kind| (project, kind))) {
            let Some(keep) = policy.of(project).of(kind) else { continue };
            if left == 0 {
                break;
            }
            let cutoff = self.now - keep;
            let seen = self.walk(project, kind, cutoff, left)?;
            left -= seen.len();
            let mut floor = None;
            for Seen { job, over, .. } in seen {
                if let Some(finished_at) = over.filter(|at| *at <= cutoff) {
                    floor = floor.max(call.forget(job, kind, finished_at, cutoff)?);
                }
            }
            if let Some(seq) = floor {
                self.run(sql::FEED_FLOOR_RAISE, [project.0, seq])?;
            }
        }
        call.expired.more = left == 0;
        if !call.expired.more {
            let endpoints = self.run(sql::ENDPOINTS_FORGET, [load::limit_of(limit)])?;
            call.expired.endpoints = u64::try_from(endpoints).unwrap_or(u64::MAX);
            call.expired.more = endpoints == limit;
        }
        call.done()
    }

    /// The next jobs of a walk, which passes them. One that is younger is not passed.
    fn walk(&self, project: ProjectId, kind: Kind, cutoff: Timestamp, limit: usize) -> Result<Vec<Seen>> {
        let key = params![project.0, kind.number()];
        let known: Option<([u8; 16], i64)> =
            load::first(self.connection, sql::RETENTION_GET, key, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let current = known.filter(|(_, since)| Timestamp::from_micros(*since) + Retention::ROUND > self.now);
        let (mark, since) = current.unwrap_or((BEGIN, self.now.as_micros()));
        let seen = self.behind(project, mark, cutoff, limit)?;
        let mark = seen.last().map_or(mark, |seen| *seen.job.as_bytes());
        if known != Some((mark, since)) {
            self.run(sql::RETENTION_SET, params![project.0, kind.number(), mark, since])?;
        }
        Ok(seen)
    }

    /// Reads no further than to the first that is too young.
    fn behind(&self, project: ProjectId, mark: [u8; 16], cutoff: Timestamp, limit: usize) -> Result<Vec<Seen>> {
        let mut statement = self.connection.prepare_cached(sql::EXPIRE_WALK)?;
        let rows = statement.query_map(params![project.0, mark, load::limit_of(limit)], seen_from)?;
        rows.take_while(|seen| seen.as_ref().map_or(true, |seen| seen.created_at <= cutoff)).collect()
    }
}

fn seen_from(row: &Row<'_>) -> Result<Seen> {
    let (finished_at, busy): (Option<i64>, bool) = (row.get(2)?, row.get(3)?);
    Ok(Seen {
        job: job_id(row, 0)?,
        created_at: Timestamp::from_micros(row.get(1)?),
        over: finished_at.filter(|_| !busy).map(Timestamp::from_micros),
    })
}

impl Call<'_, '_> {
    /// The newest event that it removed, if there is one.
    fn forget(&mut self, job: JobId, kind: Kind, finished_at: Timestamp, cutoff: Timestamp) -> Result<Option<i64>> {
        match kind {
            Kind::Artifacts => self.forget_outputs(job).map(|()| None),
            Kind::Events => self.forget_events(job, cutoff),
            Kind::Jobs if self.is_pinned(job, finished_at)? => Ok(None),
            Kind::Jobs => {
                self.forget_outputs(job)?;
                let last = self.forget_events(job, Timestamp::NEVER)?;
                self.forget_job(job)?;
                self.expired.jobs += 1;
                Ok(last)
            }
        }
    }

    fn forget_outputs(&mut self, job: JobId) -> Result<()> {
        let gone = load::all(self.change.connection, sql::ARTIFACTS_DELETE, [job.as_bytes()], |row| {
            Ok(ArtifactKey::from_stored(row.get_ref(0)?.as_str()?))
        })?;
        self.expired.artifacts.extend(gone);
        Ok(())
    }

    fn forget_events(&mut self, job: JobId, until: Timestamp) -> Result<Option<i64>> {
        let params = params![job.as_bytes(), until.as_micros()];
        let gone: Vec<i64> = load::all(self.change.connection, sql::EVENTS_DELETE, params, |row| row.get(0))?;
        self.expired.events += u64::try_from(gone.len()).unwrap_or(u64::MAX);
        Ok(gone.into_iter().max())
    }

    /// What is left of it.
    fn forget_job(&mut self, job: JobId) -> Result<()> {
        let change = self.change;
        let input: Option<Option<String>> =
            load::first(change.connection, sql::REQUEST_DELETE, [job.as_bytes()], |row| row.get(0))?;
        self.expired.artifacts.extend(input.flatten().map(|key| ArtifactKey::from_stored(&key)));
        let parts = [
            sql::ATTEMPTS_DELETE,
            sql::EXCHANGES_DELETE,
            sql::ORPHANS_DELETE,
            sql::IDEM_DELETE,
            sql::TRIES_DELETE,
            sql::DELIVERIES_DELETE,
            sql::JOB_WEBHOOK_DELETE,
            sql::JOB_DELETE,
        ];
        parts.into_iter().try_for_each(|part| change.run(part, [job.as_bytes()]).map(|_| ()))
    }

    /// Whether an older doubt of an account it was at may still be compared with it: its attempts say which provider jobs
    /// are taken.
    fn is_pinned(&mut self, job: JobId, finished_at: Timestamp) -> Result<bool> {
        let connection = self.change.connection;
        let accounts: Vec<AccountId> =
            load::all(connection, sql::ATTEMPT_ACCOUNTS, [job.as_bytes()], |row| row.get(0).map(AccountId))?;
        for account in accounts {
            let oldest = match self.doubts.get(&account) {
                Some(known) => *known,
                None => {
                    let oldest: Option<i64> =
                        connection.prepare_cached(sql::OLDEST_DOUBT)?.query_row([account.0], |row| row.get(0))?;
                    *self.doubts.entry(account).or_insert(oldest.map(Timestamp::from_micros))
                }
            };
            if oldest.is_some_and(|oldest| oldest < finished_at + Keep::PIN_MARGIN) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The objects that nothing refers to any more, each once.
    fn done(self) -> Result<Expired> {
        let Self { change, mut expired, .. } = self;
        let gone: BTreeSet<ArtifactKey> = expired.artifacts.drain(..).collect();
        let gone: Vec<ArtifactKey> = gone.into_iter().collect();
        let referenced = reads::referenced(change.connection, &gone)?;
        expired.artifacts = gone.into_iter().zip(referenced).filter(|(_, named)| !named).map(|(key, _)| key).collect();
        Ok(expired)
    }
}
