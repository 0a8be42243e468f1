//! The half of a video that never changes, lent to its events: looked up once for several of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longtake_core::id::{JobId, ProjectId};
use longtake_core::store::{Job, StoreError};

use crate::app::App;

/// Jobs remembered at once, over all streams. A prompt may have 128 KiB.
const MAX_JOBS: usize = 256;
/// How long a job is remembered: for so long a video that was deleted on another machine may still appear in events.
const TTL: Duration = Duration::from_secs(10);

/// Jobs whose events were shown lately. Only what never changes of them is used.
#[derive(Default)]
pub struct RecentJobs(Mutex<HashMap<JobId, (Duration, Arc<Job>)>>);

impl RecentJobs {
    /// A job of a project; `None` if it was deleted.
    ///
    /// # Errors
    /// As [`Store::get`](longtake_core::store::Store::get).
    pub async fn get(&self, app: &App, project: ProjectId, job: JobId) -> Result<Option<Arc<Job>>, StoreError> {
        let now = app.clock.monotonic();
        let is_fresh = |at: Duration| now.saturating_sub(at) < TTL;
        let known = self.jobs().get(&job).filter(|(at, _)| is_fresh(*at)).map(|(_, known)| Arc::clone(known));
        if let Some(known) = known.filter(|known| known.record.project == project) {
            return Ok(Some(known));
        }
        let Some(found) = app.store.get(project, job).await? else { return Ok(None) };
        let found = Arc::new(found);
        let mut jobs = self.jobs();
        if jobs.len() >= MAX_JOBS {
            jobs.retain(|_, (at, _)| is_fresh(*at));
            if jobs.len() >= MAX_JOBS {
                jobs.clear();
            }
        }
        jobs.insert(job, (now, Arc::clone(&found)));
        Ok(Some(found))
    }

    /// Its client deleted it.
    pub fn forget(&self, job: JobId) {
        self.jobs().remove(&job);
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, (Duration, Arc<Job>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
