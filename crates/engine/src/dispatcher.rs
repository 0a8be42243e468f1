//! Sends webhooks: takes what is due, tries each once, records what came of it, and waits until more is.
//!
//! Nobody owns a delivery; a lease keeps others from it while this process tries it. What a crash leaves is due again when
//! its lease is over. A receiver that hangs holds its own room and nobody else's: it never has more than
//! [`WebhookConfig::per_endpoint`] of ours waiting, and [`Endpoint`](longtake_core::webhook::Endpoint) leaves it alone
//! after a few failures. Absent: HTTP, signatures, when to try again (core's).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use longtake_core::failpoint;
use longtake_core::id::EndpointId;
use longtake_core::store::StoreError;
use longtake_core::webhook::{Answer, Due, Room, Tried, Try, WebhookSender};
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};

use crate::batch::Batcher;
use crate::config::Parts;
use crate::metrics::{EngineMetrics, add, count, set};

/// Most deliveries of one take.
const PAGE: usize = 200;
/// Between two looks that news asks for, where the last one found nothing: commits are many, and most concern nobody.
const NEWS_PAUSE: Duration = Duration::from_millis(20);
/// Between any two looks, so that what ends or comes in a burst is taken together: each take is a commit.
const LOOK_GAP: Duration = Duration::from_millis(2);
/// Longest wait where other processes make deliveries too: soon after the last one, and else. Their hints are at most ten
/// a second, and a look in vain takes a fifth of a millisecond.
const ACTIVE_LOOK: Duration = Duration::from_millis(40);
const QUIET_LOOK: Duration = Duration::from_millis(500);
/// How long after a delivery more is expected.
const ACTIVE_FOR: Duration = Duration::from_secs(10);
/// Longest wait where nobody else makes any.
const ALONE_LOOK: Duration = Duration::from_secs(10);
/// Longest wait of a shutdown for tries under way: a receiver that hangs shall not hold up a deploy.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Wait after the store failed.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// Store calls that record tries, under way at once.
const RECORD_CALLS: usize = 2;

/// How much is sent at once.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// By this process, to all endpoints together.
    pub concurrency: usize,
    /// By this process, to one endpoint.
    pub per_endpoint: usize,
    /// How long a delivery is this process's to try. Longer than any try.
    pub lease: Duration,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self { concurrency: 512, per_endpoint: 32, lease: Duration::from_secs(30) }
    }
}

/// Sends deliveries for as long as it is not told to stop.
pub(crate) struct Dispatcher {
    parts: Parts,
    sender: Arc<dyn WebhookSender>,
    metrics: Arc<EngineMetrics>,
    records: Batcher<Tried, ()>,
    recording: JoinSet<()>,
    sending: JoinSet<()>,
    /// Whom each task sends to.
    receivers: HashMap<Id, EndpointId>,
    busy: BTreeMap<EndpointId, usize>,
    /// When the last delivery was taken, on the monotonic clock.
    taken_at: Option<Duration>,
}

impl Dispatcher {
    pub fn new(parts: Parts, sender: Arc<dyn WebhookSender>, metrics: Arc<EngineMetrics>) -> Self {
        let mut recording = JoinSet::new();
        let store = parts.store.clone();
        let records = Batcher::start(
            &mut recording,
            RECORD_CALLS,
            Box::new(move |tried: Vec<Tried>| {
                let store = store.clone();
                Box::pin(async move {
                    let count = tried.len();
                    store.finish_deliveries(tried).await.map(|()| vec![(); count])
                })
            }),
        );
        Self {
            parts,
            sender,
            metrics,
            records,
            recording,
            sending: JoinSet::new(),
            receivers: HashMap::new(),
            busy: BTreeMap::new(),
            taken_at: None,
        }
    }

    /// Until `stop`; then what is under way is recorded, if it ends soon.
    pub async fn run(mut self, news: Arc<Notify>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let (found, wait) = self.look().await;
            let wait = self.parts.clock.sleep(wait);
            let gap = self.parts.clock.sleep(LOOK_GAP);
            let pause = self.parts.clock.sleep(if found { Duration::ZERO } else { NEWS_PAUSE });
            let told = async {
                pause.await;
                news.notified().await;
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = self.sending.join_next_with_id(), if !self.sending.is_empty() => {
                    self.release(ended.map_or_else(|error| error.id(), |(id, ())| id));
                }
                () = told => {}
                () = wait => {}
            }
            gap.await;
        }
        self.hear_out().await;
    }

    /// Takes what is due and begins to send it. Whether anything was, and how long to wait for more.
    async fn look(&mut self) -> (bool, Duration) {
        while let Some(ended) = self.sending.try_join_next_with_id() {
            self.release(ended.map_or_else(|error| error.id(), |(id, ())| id));
        }
        let config = &self.parts.config.webhooks;
        let left = config.concurrency.saturating_sub(self.sending.len());
        if left == 0 {
            return (false, ALONE_LOOK);
        }
        let per_endpoint = share(config, self.sending.len());
        let busy = self.busy.iter().map(|(id, count)| (*id, per_endpoint.saturating_sub(*count)));
        let room = Room { limit: left.min(PAGE), per_endpoint, busy: busy.collect(), lease: config.lease };
        match self.take(&room).await {
            Ok((found, wait)) => (found, wait),
            Err(error) => {
                tracing::warn!(%error, "webhooks are sent later");
                (false, STORE_AGAIN)
            }
        }
    }

    async fn take(&mut self, room: &Room) -> Result<(bool, Duration), StoreError> {
        let due = self.parts.store.take_deliveries(room).await?;
        let count = due.len();
        due.into_iter().for_each(|due| self.begin(due));
        if count > 0 {
            self.taken_at = Some(self.parts.clock.monotonic());
            // There may be more, and what was blocked by these is not yet due.
            return Ok((true, if count == room.limit { Duration::ZERO } else { self.longest_wait() }));
        }
        let Some(at) = self.parts.store.next_delivery_at().await? else { return Ok((false, self.longest_wait())) };
        // What is due and was not given waits for a try under way: ours will tell, others' are looked for.
        let wait = Some(at.since(self.parts.store.now().await?)).filter(|wait| !wait.is_zero());
        Ok((false, wait.unwrap_or(ALONE_LOOK).min(self.longest_wait())))
    }

    fn longest_wait(&self) -> Duration {
        let now = self.parts.clock.monotonic();
        match self.taken_at {
            _ if self.parts.store.tail_interval().is_none() => ALONE_LOOK,
            Some(at) if now.saturating_sub(at) < ACTIVE_FOR => ACTIVE_LOOK,
            _ => QUIET_LOOK,
        }
    }

    fn begin(&mut self, due: Due) {
        let endpoint = due.delivery.endpoint;
        let task = send(self.parts.clone(), self.sender.clone(), self.metrics.clone(), self.records.clone(), due);
        let handle = self.sending.spawn(task);
        self.receivers.insert(handle.id(), endpoint);
        *self.busy.entry(endpoint).or_default() += 1;
        set(&self.metrics.webhooks_in_flight, self.sending.len());
    }

    fn release(&mut self, task: Id) {
        set(&self.metrics.webhooks_in_flight, self.sending.len());
        let Some(endpoint) = self.receivers.remove(&task) else { return };
        if let Some(count) = self.busy.get_mut(&endpoint) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.busy.remove(&endpoint);
            }
        }
    }

    /// What is not heard in time is tried again by somebody else, when its lease is over.
    async fn hear_out(mut self) {
        let late = self.parts.clock.sleep(self.parts.config.drain_timeout.min(LAST_WORDS));
        let all = async { while self.sending.join_next().await.is_some() {} };
        tokio::select! {
            biased;
            () = all => {}
            () = late => {}
        }
        self.recording.abort_all();
    }
}

/// How many tries one endpoint may have under way where so many are: few once room becomes short, since those that hang
/// keep what they have for as long as a try may take, and nobody knows yet that they do.
fn share(config: &WebhookConfig, under_way: usize) -> usize {
    match under_way * 4 / config.concurrency.max(1) {
        0 | 1 => config.per_endpoint,
        2 => (config.per_endpoint / 4).max(1),
        _ => 1,
    }
}

/// One try, and its record.
async fn send(
    parts: Parts,
    sender: Arc<dyn WebhookSender>,
    metrics: Arc<EngineMetrics>,
    records: Batcher<Tried, ()>,
    due: Due,
) {
    failpoint::hit("C15");
    let (begun, at) = (parts.clock.monotonic(), parts.clock.now());
    let delivery = due.delivery.id;
    let tried = if due.event.is_none() {
        let words = "the event is no longer kept, so there is nothing to send".into();
        Tried { delivery, answer: Answer::Lost, log: Try { at, status: None, duration_ms: 0, words }, jitter: 0 }
    } else {
        let sent = loop {
            if let Some(sent) = sender.send(&due).await {
                break sent;
            }
            // Whoever takes it when the lease is over tries it for the first time.
            if parts.clock.monotonic().saturating_sub(begun) >= parts.config.webhooks.lease / 4 {
                return;
            }
            parts.clock.sleep(STORE_AGAIN).await;
        };
        let log = Try { at, status: sent.status, duration_ms: sent.duration_ms, words: sent.words };
        let jitter = u8::try_from(parts.random.below(256)).unwrap_or(u8::MAX);
        Tried { delivery, answer: sent.answer, log, jitter }
    };
    failpoint::hit("C16");
    match tried.answer {
        Answer::Taken => count(&metrics.webhooks_delivered),
        _ => count(&metrics.webhooks_failed),
    }
    let took = parts.clock.monotonic().saturating_sub(begun).as_millis();
    add(&metrics.webhook_ms_sum, u64::try_from(took).unwrap_or(u64::MAX));
    // While the lease lasts nobody else tries it; after that, whoever does records his own.
    while parts.clock.monotonic().saturating_sub(begun) < parts.config.webhooks.lease {
        match records.submit(tried.clone()).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%error, "what came of a webhook is recorded later");
                parts.clock.sleep(STORE_AGAIN).await;
            }
        }
    }
}
