//! Outgoing webhooks: who is told of which events, when a delivery is tried again, and when a receiver is left alone.
//!
//! A delivery is one event for one endpoint, made in the transaction of the event. It has no owner and no fence: whoever
//! takes it may try it until its lease is over, and a second try does no harm, since the id stays. What a try changes is
//! decided here; stores load, decide, save. Absent: HTTP, signatures, bodies.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::event::{EventKind, JobEvent};
use crate::id::{DeliveryId, EndpointId, JobId, ProjectId};
use crate::time::Timestamp;

/// Event types an endpoint wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTypes(u32);

impl EventTypes {
    /// Every type, also those of later versions.
    pub const ALL: Self = Self(u32::MAX >> 1);

    /// Just these.
    pub fn of(kinds: impl IntoIterator<Item = EventKind>) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | bit(kind)))
    }

    /// Whether it is among them.
    pub const fn has(self, kind: EventKind) -> bool {
        self.0 & bit(kind) != 0
    }

    /// As stored: bit N is the type with number N.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From what is stored.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

const fn bit(kind: EventKind) -> u32 {
    1 << kind.number()
}

/// Whether an endpoint is told anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum EndpointStatus {
    /// It is.
    Enabled = 1,
    /// Its client switched it off.
    Disabled = 2,
    /// It answered 410.
    Gone = 3,
    /// Its client removed it; only its deliveries are still shown.
    Deleted = 4,
}

impl EndpointStatus {
    /// All of them, by number.
    pub const ALL: [Self; 4] = [Self::Enabled, Self::Disabled, Self::Gone, Self::Deleted];

    /// The stored number.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// From the stored number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.number() == number)
    }
}

/// What a secret is made from, together with the installation's own key: rows alone sign nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salt {
    /// Random.
    pub bytes: [u8; 16],
    /// The secret signs until then; the newest one has no end.
    pub expires_at: Option<Timestamp>,
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `we_` and a number.
    pub id: EndpointId,
    /// Whose events.
    pub project: ProjectId,
    /// Where to, for an endpoint that a client made. `None`: stands for all `webhook_url`s of videos with this origin,
    /// which share its bounds and its circuit.
    pub url: Option<Box<str>>,
    /// `https://host:port` of a `None` above; else empty.
    pub origin: Box<str>,
    /// Which events; of videos with a `webhook_url` each has its own.
    pub types: EventTypes,
    /// The client's words.
    pub description: Box<str>,
    /// Whether it is told anything.
    pub status: EndpointStatus,
    /// Its secrets, newest first, at most [`Endpoint::MAX_SALTS`].
    pub salts: Vec<Salt>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tries that failed since the last that did not.
    pub failures: u32,
    /// Nothing is tried before then.
    pub open_until: Timestamp,
}

impl Endpoint {
    /// Most endpoints a client may make in a project.
    pub const MAX_PER_PROJECT: usize = 100;
    /// Most origins of `webhook_url`s that are told apart in a project; the others share one endpoint.
    pub const MAX_ORIGINS: usize = 1_000;
    /// Most secrets that sign at once.
    pub const MAX_SALTS: usize = 4;
    /// Failures in a row after which it is left alone for a while.
    pub const CIRCUIT_FAILURES: u32 = 5;
    /// First and longest such while: short, so that a delivery is at most so much later than it is due.
    pub const CIRCUIT_FIRST: Duration = Duration::from_secs(5);
    /// See there.
    pub const CIRCUIT_LONGEST: Duration = Duration::from_secs(40);

    /// Whether it has failed so often that only one try at a time is made.
    pub const fn is_suspect(&self) -> bool {
        self.failures >= Self::CIRCUIT_FAILURES
    }

    /// After a try.
    pub fn note(&mut self, answered: bool, now: Timestamp) {
        if answered {
            (self.failures, self.open_until) = (0, Timestamp::from_micros(0));
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if let Some(beyond) = self.failures.checked_sub(Self::CIRCUIT_FAILURES) {
            let wait = Self::CIRCUIT_FIRST.saturating_mul(1u32.checked_shl(beyond).unwrap_or(u32::MAX));
            self.open_until = now + wait.min(Self::CIRCUIT_LONGEST);
        }
    }

    /// What a try makes of it: 410 ends what a client's endpoint is told; of a video's own URL it ends just that delivery.
    ///
    /// What one address of an origin answers says nothing about its other addresses: only silence speaks for all of them.
    #[must_use]
    pub fn after(mut self, tried: &Tried, now: Timestamp) -> Self {
        let answer = tried.answer;
        if answer == Answer::Lost {
            return self;
        }
        let failed = matches!(answer, Answer::Failed { .. }) && (self.url.is_some() || tried.log.status.is_none());
        self.note(!failed, now);
        if answer == Answer::Gone && self.url.is_some() && self.status == EndpointStatus::Enabled {
            self.status = EndpointStatus::Gone;
        }
        self
    }

    /// A new one that stands for an origin; its number is still to be given.
    pub fn of_origin(project: ProjectId, origin: &str, now: Timestamp) -> Self {
        Self {
            id: EndpointId(0),
            project,
            url: None,
            origin: origin.into(),
            types: EventTypes::ALL,
            description: "".into(),
            status: EndpointStatus::Enabled,
            salts: Vec::new(),
            created_at: now,
            failures: 0,
            open_until: Timestamp::from_micros(0),
        }
    }

    /// A new one of a client; its number is still to be given.
    pub fn of_client(new: NewEndpoint, now: Timestamp) -> Self {
        let NewEndpoint { project, url, types, description, salt } = new;
        let salts = vec![Salt { bytes: salt, expires_at: None }];
        Self { url: Some(url), types, description, salts, ..Self::of_origin(project, "", now) }
    }

    /// Those that sign now, newest first.
    pub fn active_salts(&self, now: Timestamp) -> impl Iterator<Item = &Salt> {
        self.salts.iter().filter(move |salt| salt.expires_at.is_none_or(|end| end > now))
    }

    /// With another secret; the ones before it sign for `overlap` more.
    #[must_use]
    pub fn rotated(mut self, salt: [u8; 16], overlap: Duration, now: Timestamp) -> Self {
        let end = now + overlap;
        self.salts.retain(|salt| salt.expires_at.is_none_or(|end| end > now));
        for salt in &mut self.salts {
            salt.expires_at = Some(salt.expires_at.map_or(end, |earlier| earlier.min(end)));
        }
        self.salts.insert(0, Salt { bytes: salt, expires_at: None });
        self.salts.truncate(Self::MAX_SALTS);
        self
    }
}

/// An endpoint to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEndpoint {
    /// Whose events.
    pub project: ProjectId,
    /// Where to.
    pub url: Box<str>,
    /// Which events.
    pub types: EventTypes,
    /// The client's words.
    pub description: Box<str>,
    /// Of its first secret.
    pub salt: [u8; 16],
}

/// What a client changes; `None` leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointChange {
    /// Where to.
    pub url: Option<Box<str>>,
    /// Which events.
    pub types: Option<EventTypes>,
    /// The client's words.
    pub description: Option<Box<str>>,
    /// On or off. On, it is also no longer left alone.
    pub enabled: Option<bool>,
    /// Another secret, and how long the ones before it go on signing.
    pub rotate: Option<([u8; 16], Duration)>,
    /// Removed.
    pub delete: bool,
}

impl EndpointChange {
    /// What becomes of an endpoint.
    pub fn apply(&self, mut endpoint: Endpoint, now: Timestamp) -> Endpoint {
        if let Some((salt, overlap)) = self.rotate {
            endpoint = endpoint.rotated(salt, overlap, now);
        }
        if let Some(url) = &self.url {
            endpoint.url = Some(url.clone());
        }
        endpoint.types = self.types.unwrap_or(endpoint.types);
        if let Some(description) = &self.description {
            endpoint.description = description.clone();
        }
        // Another address, or a word that it is there again: what was known of it no longer counts.
        if self.url.is_some() || self.enabled == Some(true) {
            endpoint.note(true, now);
        }
        match self.enabled {
            Some(true) => endpoint.status = EndpointStatus::Enabled,
            Some(false) => endpoint.status = EndpointStatus::Disabled,
            None => {}
        }
        if self.delete {
            endpoint.status = EndpointStatus::Deleted;
        }
        endpoint
    }
}

/// In which words an event is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The event as every feed tells it.
    Longtake,
    /// As Conduit did in 2025.
    ConduitA,
    /// As Conduit does since 2026.
    ConduitB,
}

/// A video's own `webhook_url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoWebhook {
    /// The endpoint whose bounds and circuit hold for it.
    pub endpoint: EndpointId,
    /// Where to.
    pub url: Box<str>,
    /// Which events.
    pub types: EventTypes,
    /// In which words.
    pub dialect: Dialect,
    /// Sent along; names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum DeliveryState {
    /// It will be tried.
    Pending = 1,
    /// The receiver has it.
    Delivered = 2,
    /// It was tried for as long as it should be.
    Exhausted = 3,
    /// Its endpoint is told nothing any more.
    Disabled = 4,
}

impl DeliveryState {
    /// All of them, by number.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Exhausted, Self::Disabled];

    /// The stored number.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// From the stored number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }
}

/// One event for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `whd_` and a number.
    pub id: DeliveryId,
    /// For whom.
    pub endpoint: EndpointId,
    /// Of the event.
    pub job: JobId,
    /// Of the event.
    pub ver: u32,
    /// Of the event.
    pub kind: EventKind,
    /// Of the event.
    pub at: Timestamp,
    /// How far it is.
    pub state: DeliveryState,
    /// When it is tried next: while somebody tries it, when his lease is over; [`Timestamp::NEVER`] unless it is pending.
    pub due_at: Timestamp,
    /// Tries that were recorded.
    pub tries: u32,
    /// When its time began: with the event, or when it was ordered again.
    pub begun_at: Timestamp,
}

impl Delivery {
    /// How long it is tried.
    pub const LIFE: Duration = Duration::from_secs(72 * 3600);
    /// Waits after the first tries; then [`Delivery::LAST_WAIT`].
    pub const WAITS: [Duration; 5] = [
        Duration::from_secs(5),
        Duration::from_secs(300),
        Duration::from_secs(1_800),
        Duration::from_secs(7_200),
        Duration::from_secs(18_000),
    ];
    /// Wait after each further try.
    pub const LAST_WAIT: Duration = Duration::from_secs(36_000);
    /// Longest wait a receiver may ask for.
    pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(6 * 3600);

    /// Whether its time is over: of a suspect endpoint it then ends without another try.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.begun_at) > Self::LIFE
    }

    /// A new one.
    pub const fn new(id: DeliveryId, endpoint: EndpointId, event: &JobEvent) -> Self {
        let JobEvent { job, ver, kind, at, .. } = event;
        let (state, due_at) = (DeliveryState::Pending, *at);
        Self { id, endpoint, job: *job, ver: *ver, kind: *kind, at: *at, state, due_at, tries: 0, begun_at: *at }
    }

    /// Ordered again by its client: due now, with all its time. Tries before are kept, and still count as tries.
    pub const fn again(&mut self, now: Timestamp) {
        (self.state, self.due_at, self.begun_at) = (DeliveryState::Pending, now, now);
    }

    /// After a try that began then. `jitter` is 0 to 255. What another try has delivered meanwhile stays delivered.
    pub fn note(&mut self, answer: Answer, tried_at: Timestamp, now: Timestamp, jitter: u8) {
        self.tries = self.tries.saturating_add(1);
        if self.state != DeliveryState::Pending && answer != Answer::Taken {
            return;
        }
        (self.state, self.due_at) = match answer {
            Answer::Taken => (DeliveryState::Delivered, Timestamp::NEVER),
            Answer::Gone => (DeliveryState::Disabled, Timestamp::NEVER),
            Answer::Lost => (DeliveryState::Exhausted, Timestamp::NEVER),
            Answer::Failed { retry_after } => {
                let due_at = now + self.wait(tried_at, retry_after, jitter);
                if due_at.since(self.begun_at) > Self::LIFE {
                    (DeliveryState::Exhausted, Timestamp::NEVER)
                } else {
                    (DeliveryState::Pending, due_at)
                }
            }
        };
    }

    /// By how many tries there were, and by how long it has been tried where it was ordered again after many: how long the
    /// newest try itself took does not count, or a slow first one would pass for a second.
    fn wait(&self, tried_at: Timestamp, retry_after: Option<Duration>, jitter: u8) -> Duration {
        let ends = Self::WAITS.iter().scan(Duration::ZERO, |end, wait| {
            *end += *wait;
            Some(*end)
        });
        let tried_for = tried_at.since(self.begun_at);
        let by_time = ends.take_while(|end| *end <= tried_for).count();
        let place = usize::try_from(self.tries.saturating_sub(1)).unwrap_or(usize::MAX).min(by_time);
        let wait = Self::WAITS.get(place).copied().unwrap_or(Self::LAST_WAIT);
        let wait = wait + wait.mul_f64(f64::from(jitter) / 2_560.0);
        wait.max(retry_after.unwrap_or_default().min(Self::MAX_RETRY_AFTER))
    }
}

/// What a try came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 2xx.
    Taken,
    /// 410: its endpoint wants nothing any more.
    Gone,
    /// Anything else, and nothing.
    Failed {
        /// The wait the receiver asked for.
        retry_after: Option<Duration>,
    },
    /// The event is no longer kept, so there is nothing to send.
    Lost,
}

/// One try, as the delivery log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// When it began.
    pub at: Timestamp,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// From the first byte out to the last one in, in milliseconds.
    pub duration_ms: u32,
    /// First bytes of the answer, at most [`Try::MAX_ANSWER_BYTES`]; or what went wrong.
    pub words: Box<str>,
}

impl Try {
    /// Most bytes of an answer that are kept.
    pub const MAX_ANSWER_BYTES: usize = 512;
    /// Most tries of one delivery that are kept; the oldest go.
    pub const MAX_KEPT: usize = 20;
}

/// A try to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// What it came to.
    pub answer: Answer,
    /// For the log.
    pub log: Try,
    /// 0 to 255, spreads what is tried again.
    pub jitter: u8,
}

/// A delivery somebody has taken, with what it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// The delivery.
    pub delivery: Delivery,
    /// For whom.
    pub endpoint: Endpoint,
    /// Its event; `None` where retention has removed it.
    pub event: Option<JobEvent>,
}

/// What somebody can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// At most this many, for all endpoints together.
    pub limit: usize,
    /// At most this many for one endpoint; one, while it is suspect.
    pub per_endpoint: usize,
    /// Those for which it tries some already, and how many more it can take there; 0 to `per_endpoint`.
    pub busy: BTreeMap<EndpointId, usize>,
    /// Nobody else takes them for so long.
    pub lease: Duration,
}

impl Room {
    /// How many more of an enabled endpoint are taken now.
    pub fn of(&self, endpoint: &Endpoint, now: Timestamp) -> usize {
        let busy = self.busy.get(&endpoint.id).copied();
        match busy {
            _ if endpoint.open_until > now => 0,
            Some(_) if endpoint.is_suspect() => 0,
            None if endpoint.is_suspect() => 1,
            left => left.unwrap_or(self.per_endpoint).min(self.per_endpoint),
        }
    }

    /// How many of an endpoint are under way here: where there is not room for all, those with fewer go first.
    pub fn under_way(&self, endpoint: EndpointId) -> usize {
        self.busy.get(&endpoint).map_or(0, |left| self.per_endpoint.saturating_sub(*left))
    }
}

/// A page of deliveries, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPage {
    /// Each with its newest tries, oldest first.
    pub deliveries: Vec<(Delivery, Vec<Try>)>,
    /// There is more behind the last.
    pub has_more: bool,
}

/// A page of the deliveries of one job's events, whoever is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDeliveries {
    /// The deliveries.
    pub page: DeliveryPage,
    /// The endpoint that stands for the job's own `webhook_url`; what is not for it is for one that a client made.
    pub own: Option<EndpointId>,
}

/// A piece of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Deliveries that were made, or made due again.
    pub deliveries: usize,
    /// The last event looked at, where there may be more behind it.
    pub more_after: Option<(JobId, u32)>,
}

/// What came of sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// What it means for the delivery.
    pub answer: Answer,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// From the first byte out to the last one in, in milliseconds.
    pub duration_ms: u32,
    /// First bytes of the answer, or what went wrong.
    pub words: Box<str>,
}

/// The seam to receivers.
#[async_trait]
pub trait WebhookSender: Send + Sync {
    /// Sends one delivery, once, within a time of its own that is shorter than any lease. `None` where nothing was tried
    /// for reasons of ours: that is no try, or later events of the video would pass one that its receiver never saw.
    async fn send(&self, due: &Due) -> Option<Sent>;
}

#[cfg(test)]
mod tests;
