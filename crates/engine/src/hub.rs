//! Live fan-out inside one process: who waits for a job hears that it has a newer event.
//!
//! A hint carries no data and may be coalesced; listeners read the events themselves. A listener that is slow holds up nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longtake_core::id::JobId;
use longtake_core::store::{CommitListener, Store};
use tokio::sync::watch;

/// Listeners by job.
#[derive(Clone, Default)]
pub struct Hub {
    jobs: Arc<Mutex<HashMap<JobId, watch::Sender<u32>>>>,
}

impl Hub {
    /// A hub that hears what this store commits.
    pub fn of(store: &dyn Store) -> Self {
        let hub = Self::default();
        let listener: CommitListener = {
            let hub = hub.clone();
            Arc::new(move |events, _woken| hub.publish(events))
        };
        store.on_commit(listener);
        hub
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<u32>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, events: &[(JobId, u32)]) {
        let jobs = self.jobs();
        if jobs.is_empty() {
            return;
        }
        for (job, ver) in events {
            if let Some(sender) = jobs.get(job) {
                sender.send_if_modified(|known| std::mem::replace(known, (*known).max(*ver)) < *ver);
            }
        }
    }

    /// Begins to listen. Subscribe first, then read the events, then wait: nothing falls between.
    pub fn subscribe(&self, job: JobId) -> Subscription {
        let receiver = self.jobs().entry(job).or_insert_with(|| watch::channel(0).0).subscribe();
        Subscription { hub: self.clone(), job, receiver }
    }

    /// How many jobs are listened to.
    pub fn listened_jobs(&self) -> usize {
        self.jobs().len()
    }
}

/// One listener of one job.
pub struct Subscription {
    hub: Hub,
    job: JobId,
    receiver: watch::Receiver<u32>,
}

impl Subscription {
    /// Resolves when a newer event was committed since the last call.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await; // the hub is gone, and with it the process
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut jobs = self.hub.jobs();
        // This receiver still counts: the last one takes the entry along.
        if jobs.get(&self.job).is_some_and(|sender| sender.receiver_count() <= 1) {
            jobs.remove(&self.job);
        }
    }
}
