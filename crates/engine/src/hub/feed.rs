//! One listener of the feed and its queue.

use std::sync::{Arc, OnceLock};

use longtake_core::feed::{FeedCursor, FeedEvent};
use longtake_core::id::ProjectId;
use tokio::sync::mpsc;

use super::Hub;

/// What a listener of the feed hears.
#[derive(Debug, Clone)]
pub struct Told {
    /// Everything at or below it has been told, if what came before the subscription was read: resume behind it. It may
    /// lie before this event, never behind one that is still to come.
    pub mark: FeedCursor,
    /// What happened; `None` if only the mark moved.
    pub event: Option<Arc<FeedEvent>>,
}

/// Why a listener was let go. It resumes by its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedEnd {
    /// It took its events too slowly.
    #[error("too slow: {} events were waiting", Hub::MAX_WAITING)]
    TooSlow,
    /// The tail could not be followed any further.
    #[error("the live feed begins anew")]
    Restarted,
}

enum Item {
    /// From here on nothing is missing.
    Begun,
    Told(Told),
}

/// The hub's side.
pub(super) struct FeedListener {
    project: Option<ProjectId>,
    queue: mpsc::Sender<Item>,
    why: Arc<OnceLock<FeedEnd>>,
}

impl FeedListener {
    /// Its first item. Whether it is still there.
    pub(super) fn begin(&self) -> bool {
        self.queue.try_send(Item::Begun).is_ok()
    }

    /// Hands it what concerns it. Whether it is still there: one whose queue is full is let go.
    pub(super) fn tell(&self, events: &[Arc<FeedEvent>], before: FeedCursor, mark: FeedCursor) -> bool {
        let mut own = events.iter().filter(|event| self.project.is_none_or(|own| own == event.project)).peekable();
        if own.peek().is_none() {
            // Worth a place only where places are free; the next one says it too.
            let idle = self.queue.capacity() == self.queue.max_capacity();
            return !(idle && self.queue.try_send(Item::Told(Told { mark, event: None })).is_err());
        }
        while let Some(event) = own.next() {
            // Only with the last of them has everything up to the mark been told.
            let mark = if own.peek().is_some() { before } else { mark };
            match self.queue.try_send(Item::Told(Told { mark, event: Some(Arc::clone(event)) })) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    // Set once: whoever lets it go first says why.
                    let _ = self.why.set(FeedEnd::TooSlow);
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn end(self, why: FeedEnd) {
        let _ = self.why.set(why);
    }
}

/// One listener of the feed.
pub struct FeedSubscription {
    hub: Hub,
    id: u64,
    queue: mpsc::Receiver<Item>,
    why: Arc<OnceLock<FeedEnd>>,
}

impl Hub {
    /// Events that may wait for one listener of the feed; one that lets more wait is let go.
    pub const MAX_WAITING: usize = 1_024;

    /// Begins to listen to the events of a project, or of all. Wait until it has [`FeedSubscription::begun`], then read what
    /// the store has, then what is [`FeedSubscription::next`]: nothing falls between, and some may come twice.
    pub fn subscribe_feed(&self, project: Option<ProjectId>) -> FeedSubscription {
        let (sender, queue) = mpsc::channel(Self::MAX_WAITING);
        let why = Arc::new(OnceLock::new());
        let listener = FeedListener { project, queue: sender, why: Arc::clone(&why) };
        let mut listeners = self.listeners();
        if listeners.following {
            listener.begin();
        }
        let id = listeners.next_feed;
        listeners.next_feed += 1;
        listeners.feeds.insert(id, listener);
        drop(listeners);
        self.0.news.notify_one();
        FeedSubscription { hub: self.clone(), id, queue, why }
    }
}

impl FeedSubscription {
    /// Resolves once everything that becomes visible from now on comes here. Only before the first [`FeedSubscription::next`].
    ///
    /// # Errors
    /// It was let go.
    pub async fn begun(&mut self) -> Result<(), FeedEnd> {
        match self.queue.recv().await {
            Some(_) => Ok(()),
            None => Err(self.why()),
        }
    }

    /// What comes next. Cancelled, it loses nothing.
    ///
    /// # Errors
    /// It was let go, and everything that was waiting has been taken.
    pub async fn next(&mut self) -> Result<Told, FeedEnd> {
        loop {
            match self.queue.recv().await {
                Some(Item::Told(told)) => return Ok(told),
                Some(Item::Begun) => {}
                None => return Err(self.why()),
            }
        }
    }

    fn why(&self) -> FeedEnd {
        self.why.get().copied().unwrap_or(FeedEnd::Restarted)
    }
}

impl Drop for FeedSubscription {
    fn drop(&mut self) {
        let mut listeners = self.hub.listeners();
        listeners.feeds.remove(&self.id);
        drop(listeners);
        // The last one takes the note of the tail along.
        self.hub.0.news.notify_one();
    }
}
