//! One open stream: pages until it has caught up, then what the hub tells; back to pages when that is more than it takes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream;
use longtake_core::event::{EventKind, JobEvent};
use longtake_core::feed::{FeedCursor, FeedEvent, FeedPage, Tail};
use longtake_core::id::{JobId, ProjectId};
use longtake_core::store::StoreError;
use longtake_engine::{FeedSubscription, Told};
use tokio::sync::OwnedSemaphorePermit;

use super::super::events::event_body;
use super::frame::{End, Frame};
use crate::app::App;

/// Events read at once.
pub(super) const PAGE: usize = 100;
/// Events whose numbers are remembered, so that what the pages gave does not come again from the hub.
const MAX_REMEMBERED: usize = 4 * longtake_engine::Hub::MAX_WAITING;
/// Wait before the pages are read again where what follows them is too much to be told at once.
const PAGES_AGAIN: Duration = Duration::from_secs(1);

/// How far a stream is.
enum Phase {
    /// Nothing was sent yet.
    Greeting,
    /// Reads what is settled.
    Paging,
    /// Has read it; waits until the hub keeps what comes.
    Subscribed(FeedSubscription),
    /// Reads what was settled meanwhile.
    Joining(FeedSubscription),
    /// Has read that too; what is visible but not settled is next.
    Settled(FeedSubscription),
    /// Sends what the hub tells.
    Live(FeedSubscription),
}

/// Something to be sent, and the cursor that holds with it.
struct Due {
    cursor: FeedCursor,
    event: Option<Arc<FeedEvent>>,
}

/// One open stream.
pub(super) struct FeedStream {
    app: App,
    project: ProjectId,
    types: Option<Vec<EventKind>>,
    phase: Phase,
    /// Everything at or below was sent, or is not for this stream.
    cursor: FeedCursor,
    /// The last one sent.
    shown: Option<FeedCursor>,
    due: VecDeque<Due>,
    sent: Sent,
    /// When a quiet stream has to say something, on the monotonic clock.
    speak_at: Duration,
    _permit: OwnedSemaphorePermit,
}

impl FeedStream {
    /// Begins behind `after`, of which `first` is the first page.
    pub(super) fn new(
        app: App,
        project: ProjectId,
        types: Option<Vec<EventKind>>,
        after: Option<FeedCursor>,
        first: FeedPage,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let speak_at = app.clock.monotonic() + app.limits.heartbeat;
        let cursor = after.unwrap_or(first.next);
        let (phase, due, sent) = (Phase::Greeting, VecDeque::new(), Sent::default());
        let mut stream = Self { app, project, types, phase, cursor, shown: None, due, sent, speak_at, _permit: permit };
        stream.take_page(first);
        stream
    }

    /// What it tells; the end is the last of it. Nothing is lost where the next one is no longer waited for.
    pub(super) fn frames(self) -> impl Stream<Item = Result<Frame, End>> + Send {
        stream::unfold(Some(self), |stream| async move {
            let mut stream = stream?;
            let told = stream.next().await;
            stream.speak_at = stream.app.clock.monotonic() + stream.app.limits.heartbeat;
            let rest = told.is_ok().then_some(stream);
            Some((told, rest))
        })
    }

    /// What comes next.
    async fn next(&mut self) -> Result<Frame, End> {
        // At once, so that proxies and clients see the response begin, and with a cursor, so that none begins without.
        if matches!(self.phase, Phase::Greeting) {
            self.phase = Phase::Paging;
            return Ok(self.alive("hello"));
        }
        loop {
            if self.app.stopping.is_cancelled() {
                return Err(End::Stopping);
            }
            let told = match self.due.pop_front() {
                Some(due) => self.told(due).await.map_err(Stop::from),
                None => self.advance().await,
            };
            match told {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(Stop::Told) => return Err(End::Stopping),
                Err(Stop::Failed(error @ (StoreError::Cursor | StoreError::CursorExpired))) => {
                    return Err(End::Refused(error.into()));
                }
                Err(Stop::Failed(error)) => {
                    tracing::warn!(%error, "an event stream ends: its events cannot be read");
                    return Err(End::Unreadable);
                }
            }
        }
    }

    /// One step when nothing is due.
    async fn advance(&mut self) -> Result<Option<Frame>, Stop> {
        match std::mem::replace(&mut self.phase, Phase::Paging) {
            Phase::Greeting | Phase::Paging => {
                let (caught_up, frame) = self.read_page().await?;
                if caught_up {
                    self.phase = Phase::Subscribed(self.app.engine.hub().subscribe_feed(Some(self.project)));
                }
                Ok(frame)
            }
            Phase::Joining(subscription) => {
                let (caught_up, frame) = self.read_page().await?;
                self.phase = if caught_up { Phase::Settled(subscription) } else { Phase::Joining(subscription) };
                Ok(frame)
            }
            Phase::Settled(subscription) => self.join(subscription).await.map(|()| None),
            waiting @ (Phase::Subscribed(_) | Phase::Live(_)) => {
                self.phase = waiting;
                self.listen().await
            }
        }
    }

    /// Whether there was nothing more; and what to say where a page held nothing for this stream.
    async fn read_page(&mut self) -> Result<(bool, Option<Frame>), StoreError> {
        let page = self.app.store.feed(Some(self.project), Some(self.cursor), PAGE).await?;
        let caught_up = page.caught_up;
        if page.events.is_empty() && !caught_up {
            self.cursor = page.next;
            return Ok((false, Some(self.alive("still here"))));
        }
        self.take_page(page);
        Ok((caught_up, None))
    }

    fn take_page(&mut self, page: FeedPage) {
        let events = page.events.into_iter().map(|(cursor, event)| Due { cursor, event: Some(Arc::new(event)) });
        self.due.extend(events);
        self.due.push_back(Due { cursor: page.next, event: None });
    }

    /// All pages are sent; what is visible but not settled follows them once, then the hub.
    async fn join(&mut self, subscription: FeedSubscription) -> Result<(), Stop> {
        let cursor = self.cursor;
        let (events, tail) = match self.app.store.tail(Some(Tail::at(cursor))).await {
            Ok(told) => told,
            Err(StoreError::Cursor) => {
                // A long transaction holds the horizon back, and too much has happened since: pages, until it ends.
                self.phase = Phase::Joining(subscription);
                tokio::select! {
                    () = self.app.stopping.cancelled() => return Err(Stop::Told),
                    () = self.app.clock.sleep(PAGES_AGAIN) => return Ok(()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        let own = events.into_iter().filter(|event| event.project == self.project);
        self.due.extend(own.map(|event| Due { cursor, event: Some(Arc::new(event)) }));
        // Only behind the last of them.
        self.due.push_back(Due { cursor: tail.mark, event: None });
        self.phase = Phase::Live(subscription);
        Ok(())
    }

    /// Waits for the hub, for the time to say something, or for the end.
    async fn listen(&mut self) -> Result<Option<Frame>, Stop> {
        let quiet = self.speak_at.saturating_sub(self.app.clock.monotonic());
        let phase = &mut self.phase;
        let heard = async {
            match phase {
                Phase::Live(subscription) => subscription.next().await.map(Some),
                Phase::Subscribed(subscription) => subscription.begun().await.map(|()| None),
                Phase::Greeting | Phase::Paging | Phase::Joining(_) | Phase::Settled(_) => Ok(None),
            }
        };
        let heard = tokio::select! {
            biased;
            () = self.app.stopping.cancelled() => return Err(Stop::Told),
            heard = heard => heard,
            () = self.app.clock.sleep(quiet) => return Ok(Some(self.alive("still here"))),
        };
        match heard {
            Ok(Some(Told { mark, event })) => self.due.push_back(Due { cursor: mark, event }),
            Ok(None) => {
                self.phase = match std::mem::replace(&mut self.phase, Phase::Paging) {
                    Phase::Subscribed(subscription) => Phase::Joining(subscription),
                    other => other,
                }
            }
            // What it took too slowly, or what the hub cannot tell, lies in the store.
            Err(end) => {
                tracing::debug!(%end, "an event stream goes back to pages");
                self.phase = Phase::Paging;
            }
        }
        Ok(None)
    }

    /// The event, if it is for this stream and was not told yet.
    async fn told(&mut self, due: Due) -> Result<Option<Frame>, StoreError> {
        self.cursor = self.cursor.max(due.cursor);
        let Some(FeedEvent { event, .. }) = due.event.as_deref() else { return Ok(None) };
        // Pages and hub overlap.
        if self.sent.has(event) {
            return Ok(None);
        }
        self.sent.note(event);
        if self.types.as_ref().is_some_and(|types| !types.contains(&event.kind)) {
            return Ok(None);
        }
        // Of a deleted video nothing is told any more, as by its own stream.
        let Some(job) = self.app.memory.recent_jobs.get(&self.app, self.project, event.job).await? else {
            return Ok(None);
        };
        let Ok(body) = serde_json::to_string(&event_body(&self.app, &job, event)) else { return Ok(None) };
        self.shown = Some(self.cursor);
        Ok(Some(Frame::Event { cursor: self.cursor, kind: event.kind, body }))
    }

    /// A sign of life; where the cursor moved without an event, the client is told, so that it need not read that again.
    fn alive(&mut self, word: &'static str) -> Frame {
        let cursor = (self.shown != Some(self.cursor)).then_some(self.cursor);
        self.shown = Some(self.cursor);
        Frame::Alive { word, cursor }
    }
}

/// Why a stream ends.
enum Stop {
    /// The server stops.
    Told,
    /// The store failed.
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// The newest number sent of each job, of the last events.
#[derive(Default)]
struct Sent {
    newest: HashMap<JobId, u32>,
    order: VecDeque<(JobId, u32)>,
}

impl Sent {
    fn note(&mut self, event: &JobEvent) {
        let newest = self.newest.entry(event.job).or_default();
        *newest = (*newest).max(event.ver);
        self.order.push_back((event.job, event.ver));
        if self.order.len() > MAX_REMEMBERED
            && let Some((job, ver)) = self.order.pop_front()
            && self.newest.get(&job) == Some(&ver)
        {
            self.newest.remove(&job);
        }
    }

    /// Every source gives a job's events in order, so one below the newest was sent.
    fn has(&self, event: &JobEvent) -> bool {
        self.newest.get(&event.job).is_some_and(|newest| event.ver <= *newest)
    }
}
