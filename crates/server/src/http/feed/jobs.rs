//! The half of a video that never changes, lent to its events: looked up once for all who want it at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use longtake_core::id::{JobId, ProjectId};
use longtake_core::store::{Job, StoreError};

use crate::app::App;

/// Jobs remembered at once, over all streams. A prompt may have 128 KiB.
const MAX_JOBS: usize = 256;
/// How long a job is remembered: for so long a video that was deleted on another machine may still appear in events.
const TTL: Duration = Duration::from_secs(10);

/// A look-up that several wait for. Whoever of them is awake drives it, so one that is stuck holds up nobody.
type Look = Shared<BoxFuture<'static, Result<Option<Arc<Job>>, Arc<StoreError>>>>;

/// Jobs whose events were shown lately. Only what never changes of them is used.
#[derive(Default)]
pub struct RecentJobs(Mutex<HashMap<(ProjectId, JobId), (Duration, Look)>>);

impl RecentJobs {
    /// A job of a project; `None` if it was deleted.
    ///
    /// # Errors
    /// As [`Store::get`](longtake_core::store::Store::get).
    pub async fn get(&self, app: &App, project: ProjectId, job: JobId) -> Result<Option<Arc<Job>>, StoreError> {
        let look = self.look(app, project, job);
        let found = look.clone().await;
        if !matches!(found, Ok(Some(_))) {
            // What is not there, or was not found out, is asked for again.
            let mut looks = self.looks();
            if looks.get(&(project, job)).is_some_and(|(_, known)| known.ptr_eq(&look)) {
                looks.remove(&(project, job));
            }
        }
        found.map_err(|error| StoreError::Failed(error.to_string().into()))
    }

    fn look(&self, app: &App, project: ProjectId, job: JobId) -> Look {
        let now = app.clock.monotonic();
        let is_fresh = |at: Duration| now.saturating_sub(at) < TTL;
        let mut looks = self.looks();
        if let Some((_, known)) = looks.get(&(project, job)).filter(|(at, _)| is_fresh(*at)) {
            return known.clone();
        }
        if looks.len() >= MAX_JOBS {
            looks.retain(|_, (at, _)| is_fresh(*at));
            if looks.len() >= MAX_JOBS {
                looks.clear();
            }
        }
        let store = Arc::clone(&app.store);
        let look = async move { store.get(project, job).await.map(|found| found.map(Arc::new)).map_err(Arc::new) };
        let look = look.boxed().shared();
        looks.insert((project, job), (now, look.clone()));
        look
    }

    /// Its client deleted it.
    pub fn forget(&self, project: ProjectId, job: JobId) {
        self.looks().remove(&(project, job));
    }

    fn looks(&self) -> MutexGuard<'_, HashMap<(ProjectId, JobId), (Duration, Look)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
