//! Live fan-out inside one process: who waits for a job hears that it has a newer event, who follows the feed gets the events.
//!
//! One task reads the store's tail for all of them: at once where the store tells of every commit, every few milliseconds
//! where other machines commit too, and not at all while nobody listens. A hint for a job carries no data and may be
//! coalesced; a listener of the feed has a bounded queue. One that is slow holds up nobody: it is let go, and resumes by its
//! cursor. Absent: what was committed before somebody listened, which is read from the store; and any order between jobs.

mod feed;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longtake_core::feed::{FeedCursor, FeedEvent, Tail};
use longtake_core::id::JobId;
use longtake_core::store::{CommitListener, Store, StoreError};
use longtake_core::time::Clock;
use tokio::sync::{Notify, watch};

use feed::FeedListener;
pub use feed::{FeedEnd, FeedSubscription, Told};

/// Wait before the tail is read again after a failure.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Listeners by job, and those of the feed.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    listeners: Mutex<Listeners>,
    /// There is somebody new to hear it, or news for those of the feed.
    news: Notify,
    /// How often the tail must be looked at; `None` where the store tells of every commit.
    interval: Option<Duration>,
}

#[derive(Default)]
struct Listeners {
    /// In order, so that the same history wakes them in the same order.
    jobs: BTreeMap<JobId, watch::Sender<u32>>,
    feeds: BTreeMap<u64, FeedListener>,
    next_feed: u64,
    /// A note of the tail is held: what becomes visible from now on is told to those who listen now.
    following: bool,
}

impl Hub {
    /// A hub that hears what this process commits. What others commit, and events themselves, it has from [`Hub::follow`].
    pub fn of(store: &dyn Store) -> Self {
        let hub = Self::every(store.tail_interval());
        let listener: CommitListener = {
            let hub = hub.clone();
            Arc::new(move |events, _woken| hub.committed(events))
        };
        store.on_commit(listener);
        hub
    }

    fn every(interval: Option<Duration>) -> Self {
        Self(Arc::new(Shared { listeners: Mutex::default(), news: Notify::new(), interval }))
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hints about commits of this process need no look at the store.
    fn committed(&self, events: &[(JobId, u32)]) {
        let listeners = self.listeners();
        listeners.hint(events.iter().copied());
        if !events.is_empty() && !listeners.feeds.is_empty() && self.0.interval.is_none() {
            self.0.news.notify_one();
        }
    }

    /// Begins to listen to a job. Subscribe first, then read the events, then wait: nothing falls between.
    pub fn subscribe(&self, job: JobId) -> Subscription {
        let receiver = self.listeners().jobs.entry(job).or_insert_with(|| watch::channel(0).0).subscribe();
        if self.0.interval.is_some() {
            self.0.news.notify_one();
        }
        Subscription { hub: self.clone(), job, receiver }
    }

    /// How many jobs are listened to.
    pub fn listened_jobs(&self) -> usize {
        self.listeners().jobs.len()
    }

    /// How many follow the feed.
    pub fn feed_listeners(&self) -> usize {
        self.listeners().feeds.len()
    }

    /// Tells those who listen what becomes visible. Runs until it is dropped.
    pub async fn follow(self, store: Arc<dyn Store>, clock: Arc<dyn Clock>) {
        let read = move |after| {
            let store = Arc::clone(&store);
            async move { store.tail(after).await }
        };
        self.follow_with(read, &*clock).await;
    }

    async fn follow_with<F, R>(self, read: F, clock: &dyn Clock)
    where
        F: Fn(Option<Tail>) -> R,
        R: Future<Output = Result<(Vec<FeedEvent>, Tail), StoreError>>,
    {
        loop {
            while !self.is_heard() {
                self.0.news.notified().await;
            }
            if let Some(tail) = self.begin(&read, clock).await {
                self.tell_while_heard(tail, &read, clock).await;
            }
        }
    }

    /// Whether anybody hears what the tail tells.
    fn is_heard(&self) -> bool {
        self.listeners().are_there(self.0.interval)
    }

    /// The tail from now on; `None` if everybody went away meanwhile.
    async fn begin<F, R>(&self, read: &F, clock: &dyn Clock) -> Option<Tail>
    where
        F: Fn(Option<Tail>) -> R,
        R: Future<Output = Result<(Vec<FeedEvent>, Tail), StoreError>>,
    {
        while self.is_heard() {
            match read(None).await {
                Ok((_, tail)) => {
                    self.listeners().begin(self.0.interval);
                    return Some(tail);
                }
                Err(error) => {
                    tracing::warn!(%error, "live events cannot be followed yet");
                    clock.sleep(TRY_AGAIN).await;
                }
            }
        }
        None
    }

    async fn tell_while_heard<F, R>(&self, mut tail: Tail, read: &F, clock: &dyn Clock)
    where
        F: Fn(Option<Tail>) -> R,
        R: Future<Output = Result<(Vec<FeedEvent>, Tail), StoreError>>,
    {
        let mut more = false;
        loop {
            if !more {
                match self.0.interval {
                    Some(interval) => clock.sleep(interval).await,
                    None => self.0.news.notified().await,
                }
            }
            if self.listeners().end_if_unheard(self.0.interval) {
                return;
            }
            match read(Some(tail.clone())).await {
                Ok((events, next)) => {
                    // As much as a call tells: there may be more.
                    more = events.len() >= Tail::MAX_EVENTS;
                    self.listeners().tell(events, tail.mark, next.mark);
                    tail = next;
                }
                Err(StoreError::Cursor | StoreError::CursorExpired) => {
                    tracing::warn!("live events went on elsewhere, listeners resume by their cursors");
                    return self.listeners().let_all_go();
                }
                // The note still holds: nothing is lost, it only comes later.
                Err(error) => {
                    tracing::warn!(%error, "live events come late");
                    more = true;
                    clock.sleep(TRY_AGAIN).await;
                }
            }
        }
    }
}

impl Listeners {
    fn are_there(&self, interval: Option<Duration>) -> bool {
        // Without an interval, jobs are told by the commits themselves.
        !self.feeds.is_empty() || (interval.is_some() && !self.jobs.is_empty())
    }

    fn hint(&self, events: impl Iterator<Item = (JobId, u32)>) {
        if self.jobs.is_empty() {
            return;
        }
        for (job, ver) in events {
            if let Some(sender) = self.jobs.get(&job) {
                sender.send_if_modified(|known| std::mem::replace(known, (*known).max(ver)) < ver);
            }
        }
    }

    /// Those who read before there was a note of the tail look again.
    fn look_again(&self) {
        self.jobs.values().for_each(|sender| sender.send_modify(|_| {}));
    }

    fn begin(&mut self, interval: Option<Duration>) {
        self.following = true;
        if interval.is_some() {
            self.look_again();
        }
        self.feeds.retain(|_, feed| feed.begin());
    }

    fn end_if_unheard(&mut self, interval: Option<Duration>) -> bool {
        self.following &= self.are_there(interval);
        !self.following
    }

    /// `before` and `mark`: everything at or below was told before these events, and with them.
    fn tell(&mut self, events: Vec<FeedEvent>, before: FeedCursor, mark: FeedCursor) {
        self.hint(events.iter().map(|told| (told.event.job, told.event.ver)));
        if !self.feeds.is_empty() {
            let events: Vec<Arc<FeedEvent>> = events.into_iter().map(Arc::new).collect();
            self.feeds.retain(|_, feed| feed.tell(&events, before, mark));
        }
    }

    /// Nobody knows what lies between: everybody reads it.
    fn let_all_go(&mut self) {
        self.following = false;
        self.look_again();
        std::mem::take(&mut self.feeds).into_values().for_each(|feed| feed.end(FeedEnd::Restarted));
    }
}

/// One listener of one job.
pub struct Subscription {
    hub: Hub,
    job: JobId,
    receiver: watch::Receiver<u32>,
}

impl Subscription {
    /// Resolves when a newer event was committed since the last call. May resolve without one.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await; // the hub is gone, and with it the process
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut listeners = self.hub.listeners();
        // This receiver still counts: the last one takes the entry along.
        if listeners.jobs.get(&self.job).is_some_and(|sender| sender.receiver_count() <= 1) {
            listeners.jobs.remove(&self.job);
        }
    }
}
