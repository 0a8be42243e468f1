//! What the policies no longer keep: a walk per project and kind, in the order of ids, a bounded piece at a time.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::attempts_of;
use super::content::Content;
use crate::artifact::ArtifactKey;
use crate::attempt::{Attempt, AttemptState};
use crate::id::{AccountId, AttemptNo, JobId, ProjectId};
use crate::retention::{Expired, Keep, Kind, Retention};
use crate::store::WorkKey;
use crate::time::Timestamp;

/// How far a walk has come.
#[derive(Clone)]
pub(super) struct Walk {
    /// The last job looked at.
    pub mark: Option<JobId>,
    /// When it began.
    pub restarted_at: Timestamp,
}

impl Content {
    pub fn expire(&mut self, policy: &Retention, limit: usize, now: Timestamp) -> Expired {
        let mut expired = Expired::default();
        let mut left = limit;
        let projects = (1..).map(ProjectId).take(self.projects.len());
        for (project, kind) in projects.flat_map(|project| Kind::ALL.map(|kind| (project, kind))) {
            let Some(keep) = policy.of(project).of(kind) else { continue };
            if left == 0 {
                break;
            }
            let cutoff = now - keep;
            let seen = self.walk(project, kind, cutoff, left, now);
            left -= seen.len();
            for job in seen {
                if let Some(finished_at) = self.is_over(job, cutoff) {
                    self.forget(job, kind, finished_at, cutoff, &mut expired);
                }
            }
        }
        let gone: BTreeSet<ArtifactKey> = expired.artifacts.drain(..).collect();
        let gone: Vec<ArtifactKey> = gone.into_iter().collect();
        let named = self.referenced(&gone);
        expired.artifacts = gone.into_iter().zip(named).filter(|(_, named)| !named).map(|(key, _)| key).collect();
        expired.more = left == 0;
        if !expired.more {
            let endpoints = self.webhooks.forget_endpoints(limit);
            expired.endpoints = u64::try_from(endpoints).unwrap_or(u64::MAX);
            expired.more = endpoints == limit;
        }
        expired
    }

    /// The next jobs of a walk, which passes them. One that is younger is not passed.
    fn walk(&mut self, project: ProjectId, kind: Kind, cutoff: Timestamp, limit: usize, now: Timestamp) -> Vec<JobId> {
        let anew = Walk { mark: None, restarted_at: now };
        let walk = self.walks.entry((project, kind)).or_insert_with(|| anew.clone());
        if walk.restarted_at + Retention::ROUND <= now {
            *walk = anew;
        }
        let behind = walk.mark.map_or(Bound::Unbounded, Bound::Excluded);
        let own = self.jobs.range((behind, Bound::Unbounded)).filter(|(_, row)| row.record.project == project);
        let old = own.take_while(|(_, row)| row.record.created_at <= cutoff);
        let jobs: Vec<JobId> = old.map(|(job, _)| *job).take(limit).collect();
        walk.mark = jobs.last().copied().or(walk.mark);
        jobs
    }

    /// When it finished, if that was by then and nothing remains to be done for it.
    fn is_over(&self, job: JobId, cutoff: Timestamp) -> Option<Timestamp> {
        let record = &self.jobs.get(&job)?.record;
        let finished_at = record.finished_at.filter(|at| record.state.is_terminal() && *at <= cutoff)?;
        let mut work = self.work.range(WorkKey::drive(job)..=WorkKey::watch(job, AttemptNo(u16::MAX)));
        work.next().is_none().then_some(finished_at)
    }

    fn forget(&mut self, job: JobId, kind: Kind, finished_at: Timestamp, cutoff: Timestamp, expired: &mut Expired) {
        match kind {
            Kind::Artifacts => expired.artifacts.extend(self.forget_outputs(job)),
            Kind::Events => expired.events += self.forget_events(job, cutoff),
            Kind::Jobs if self.is_pinned(job, finished_at) => {}
            Kind::Jobs => {
                expired.artifacts.extend(self.forget_outputs(job));
                expired.events += self.forget_events(job, Timestamp::NEVER);
                expired.jobs += 1;
                expired.artifacts.extend(self.forget_job(job));
            }
        }
    }

    fn forget_outputs(&mut self, job: JobId) -> Vec<ArtifactKey> {
        let gone: Vec<_> = self
            .artifacts
            .extract_if((job, AttemptNo(0), 0)..=(job, AttemptNo(u16::MAX), u16::MAX), |_, _| true)
            .collect();
        self.stripped.extend(gone.iter().map(|((job, attempt, _), _)| (*job, *attempt)));
        gone.into_iter().map(|(_, artifact)| artifact.key).collect()
    }

    /// Those until then, out of the feed too: their places stay empty. How many.
    fn forget_events(&mut self, job: JobId, until: Timestamp) -> u64 {
        let (Some(row), Some(log)) = (self.jobs.get(&job), self.events.get_mut(&job)) else { return 0 };
        let project = row.record.project;
        let gone: BTreeSet<u32> = log.iter().filter(|event| event.at <= until).map(|event| event.ver).collect();
        if gone.is_empty() {
            return 0;
        }
        log.retain(|event| event.at > until);
        for (place, told) in self.feed.iter_mut().enumerate() {
            if told.is_some_and(|(of, ver)| of == job && gone.contains(&ver)) {
                *told = None;
                let floor = self.feed_floors.entry(project).or_default();
                *floor = (*floor).max(place + 1);
            }
        }
        self.trimmed.insert(job);
        u64::try_from(gone.len()).unwrap_or(u64::MAX)
    }

    /// What is left of it. The key of its input, if it had one.
    fn forget_job(&mut self, job: JobId) -> Option<ArtifactKey> {
        self.events.remove(&job);
        self.exchanges.remove(&job);
        self.attempts.retain(|(of, _), _| *of != job);
        self.orphans.retain(|orphan| orphan.job != job);
        self.idempotency.retain(|_, (_, of)| *of != job);
        self.highest_fence.retain(|key, _| key.job != job);
        self.highest_rank.retain(|(of, _), _| *of != job);
        self.settled.retain(|(of, _)| *of != job);
        self.stripped.retain(|(of, _)| *of != job);
        self.trimmed.remove(&job);
        self.webhooks.forget(job);
        let row = self.jobs.remove(&job)?;
        row.request.input.as_ref().map(|input| input.key.clone())
    }

    /// Whether an older doubt of an account it was at may still be compared with it: its attempts say which provider jobs
    /// are taken.
    fn is_pinned(&self, job: JobId, finished_at: Timestamp) -> bool {
        let own = self.attempts.range(attempts_of(job));
        let accounts: BTreeSet<AccountId> = own.map(|(_, attempt)| attempt.account).collect();
        self.attempts.iter().any(|((of, _), attempt)| {
            *of != job
                && accounts.contains(&attempt.account)
                && attempt.intent_at < finished_at + Keep::PIN_MARGIN
                && self.is_looked_into(*of, attempt)
        })
    }

    /// Whether somebody still finds out about an attempt that nobody knows about. What nobody looks into is compared with
    /// nothing, and two such jobs would keep each other for ever.
    fn is_looked_into(&self, job: JobId, attempt: &Attempt) -> bool {
        let watched = || self.work.contains_key(&WorkKey::watch(job, attempt.n));
        match attempt.state {
            AttemptState::Intent | AttemptState::Unknown => watched() || self.work.contains_key(&WorkKey::drive(job)),
            AttemptState::Waived => watched(),
            _ => false,
        }
    }
}
