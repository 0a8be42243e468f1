//! What readers ask, and the small tables of names and keys.

use std::collections::BTreeSet;
use std::time::Duration;

use super::attempts_of;
use super::content::Content;
use crate::artifact::ArtifactKey;
use crate::event::JobEvent;
use crate::id::{AccountId, JobId, ProjectId};
use crate::state::JobState;
use crate::store::{ApiKey, Job, ListFilter, Page, StoreStats, Timeline, WorkKind};
use crate::time::Timestamp;

/// Most keys one call lists.
pub(super) const MAX_KEYS: usize = 1_000;
/// Most jobs on one page.
const MAX_PAGE: usize = 100;

impl Content {
    /// `None` if `after` names no job of the project; a hidden one still marks a place.
    pub fn list(&self, project: ProjectId, filter: &ListFilter) -> Option<Page> {
        if let Some(after) = filter.after {
            self.jobs.get(&after).filter(|row| row.record.project == project)?;
        }
        let behind = |job: &JobId| match filter.after {
            None => true,
            Some(after) if filter.ascending => *job > after,
            Some(after) => *job < after,
        };
        let mut ids: Vec<JobId> = self.jobs.keys().copied().filter(behind).collect();
        if !filter.ascending {
            ids.reverse();
        }
        let limit = filter.limit.clamp(1, MAX_PAGE);
        let wanted = ids.into_iter().filter_map(|job| self.visible(project, job)).filter(|job| fits(job, filter));
        let mut jobs: Vec<Job> = wanted.take(limit + 1).collect();
        let has_more = jobs.len() > limit;
        jobs.truncate(limit);
        Some(Page { jobs, has_more })
    }

    pub fn events_after(&self, job: JobId, ver: u32, limit: usize) -> Vec<JobEvent> {
        let events = self.events.get(&job).into_iter().flatten();
        events.filter(|event| event.ver > ver).take(limit).cloned().collect()
    }

    pub fn timeline(&self, project: ProjectId, job: JobId) -> Option<Timeline> {
        let seen = self.visible(project, job)?;
        Some(Timeline {
            job: seen,
            attempts: self.attempts.range(attempts_of(job)).map(|(_, attempt)| attempt.clone()).collect(),
            events: newest(self.events.get(&job)),
            exchanges: newest(self.exchanges.get(&job)),
        })
    }

    pub fn durations(&self, model: &str, limit: usize) -> Vec<Duration> {
        let mut finished: Vec<(Timestamp, JobId, Duration)> = Vec::new();
        for (job, row) in &self.jobs {
            if matches!(row.record.state, JobState::Completed)
                && *row.record.model == *model
                && let Some(at) = row.record.finished_at
            {
                finished.push((at, *job, at.since(row.record.created_at)));
            }
        }
        finished.sort_unstable();
        finished.into_iter().rev().take(limit).map(|(.., duration)| duration).collect()
    }

    /// Outputs, pictures derived from them, and input images of jobs that are not hidden.
    pub fn referenced(&self, keys: &[ArtifactKey]) -> Vec<bool> {
        let outputs = self.artifacts.values().map(|artifact| artifact.key.as_str());
        let seen = self.jobs.values().filter(|row| !row.hidden);
        let inputs = seen.filter_map(|row| row.request.input.as_ref()).map(|input| input.key.as_str());
        let named: BTreeSet<&str> = outputs.chain(inputs).collect();
        // `KEY.thumbnail.webp` belongs to KEY, whose own last segment has no dot.
        let origin = |key: &ArtifactKey| {
            let name = key.as_str().rfind('/').map_or(0, |slash| slash + 1);
            let end = key.as_str()[name..].find('.').map_or(key.as_str().len(), |dot| name + dot);
            named.contains(key.as_str()) || named.contains(&key.as_str()[..end])
        };
        keys.iter().map(origin).collect()
    }

    /// The number of an account by name and provider.
    pub fn account(&mut self, account: (String, String)) -> AccountId {
        let place = self.accounts.iter().position(|known| *known == account).unwrap_or_else(|| {
            self.accounts.push(account);
            self.accounts.len() - 1
        });
        AccountId(i32::try_from(place + 1).unwrap_or(i32::MAX))
    }

    /// The number of a project; 1 is the default one.
    pub fn project(&mut self, name: &str) -> ProjectId {
        let place = self.projects.iter().position(|known| known == name).unwrap_or_else(|| {
            self.projects.push(name.to_owned());
            self.projects.len() - 1
        });
        ProjectId(i64::try_from(place + 1).unwrap_or(i64::MAX))
    }

    pub fn create_key(&mut self, key: ApiKey) -> ApiKey {
        let id = self.keys.keys().next_back().map_or(1, |last| last + 1);
        let key = ApiKey { id, ..key };
        self.keys.insert(id, key.clone());
        key
    }

    /// Revoking again keeps the first time.
    pub fn revoke_key(&mut self, id: i64, now: Timestamp) -> bool {
        let Some(key) = self.keys.get_mut(&id) else { return false };
        key.revoked_at = key.revoked_at.or(Some(now));
        true
    }

    pub fn stats(&self, now: Timestamp) -> StoreStats {
        let mut stats = StoreStats::default();
        for row in self.jobs.values().filter(|row| !row.record.state.is_terminal()) {
            *stats.live.entry(row.record.state.name().number()).or_default() += 1;
        }
        for (key, row) in &self.work {
            stats.watched += u64::from(key.kind == WorkKind::Watch);
            stats.due += u64::from(row.owner.is_none() && row.due_at <= now);
        }
        let alive = self.executors.values().filter(|row| row.dead_at.is_none() && now <= row.beat_at + row.ttl);
        stats.executors = u64::try_from(alive.count()).unwrap_or(u64::MAX);
        stats.orphans = u64::try_from(self.orphans.len()).unwrap_or(u64::MAX);
        stats
    }
}

fn fits(job: &Job, filter: &ListFilter) -> bool {
    let record = &job.record;
    filter.status.is_none_or(|status| record.state.name().status() == status)
        && filter.model.as_deref().is_none_or(|model| *record.model == *model)
        && filter.metadata.iter().all(|(key, value)| job.request.metadata.get(key) == Some(value))
}

/// The newest of a log, as many as a timeline shows.
fn newest<T: Clone>(log: Option<&Vec<T>>) -> Vec<T> {
    let log = log.map_or(&[][..], Vec::as_slice);
    log[log.len().saturating_sub(Timeline::MAX_EVENTS)..].to_vec()
}
