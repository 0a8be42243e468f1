//! One job in the real store, its owner's memory, and what is true at the provider.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use longtake_core::artifact::{Artifact, ArtifactKey, Digest, MediaInfo};
use longtake_core::attempt::{Attempt, AttemptState, Evidence, Rejection, Retry};
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{
    AccountId, AttemptNo, ClientRef, ExecutorId, Fence, JobId, Nonce, PoolId, ProjectId, ProviderJobId,
};
use longtake_core::memory_store::MemoryStore;
use longtake_core::record::Record;
use longtake_core::request::{Size, VideoRequest};
use longtake_core::state::JobState;
use longtake_core::store::{Claim, EvidenceRecord, ExecutorInfo, NewJob, ProcessInfo, Store, Wake, WorkKey, WorkKind};
use longtake_core::time::{Clock, Timestamp};

use super::cost::{Cost, Refused, Weighed};

/// Stands still until an action turns it.
pub struct Frozen(pub AtomicI64);

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

/// The store in memory never waits.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("the store in memory answers at once")
}

pub const PROJECT: ProjectId = ProjectId(1);
pub const ACCOUNT: AccountId = AccountId(1);
pub const DEADLINE: Duration = Duration::from_secs(1_000);

pub fn job() -> JobId {
    JobId::from_bytes([7; 16])
}

pub fn name(text: &str) -> ProviderJobId {
    ProviderJobId::new(text).expect("a plain name")
}

/// What became of a provider job at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    Pending,
    Done,
    Failed,
}

/// What may still happen, so that the exploration ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub attempts: u16,
    pub cancels: u8,
    pub deadlines: u8,
    pub retries: u8,
    pub resolves: u8,
    pub hides: u8,
    pub crashes: u8,
    /// Refusals that are none: the provider took it all the same, and calls back.
    pub lies: u8,
    pub callbacks: bool,
    pub lookup: bool,
    /// Every kind of refusal, not only the one that counts.
    pub refusals: bool,
}

/// A provider job: the attempt that bought it and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bought {
    pub n: u16,
    pub truth: Truth,
}

/// What a driving process holds of the job.
#[derive(Debug, Clone)]
pub struct Memory {
    pub fence: Fence,
    pub record: Record,
    /// Its own send is under way.
    pub sending: Option<u16>,
    /// It has just testified and takes that up next.
    pub fold: bool,
    /// It has looked at what its next attempt may cost.
    pub weighed: Option<Weighed>,
}

impl Memory {
    pub fn of(claim: Claim) -> Self {
        Self { fence: claim.fence, record: claim.record, sending: None, fold: false, weighed: None }
    }
}

pub struct World {
    pub store: MemoryStore,
    pub clock: Arc<Frozen>,
    pub at: i64,
    pub executor: ExecutorId,
    pub memory: Option<Memory>,
    /// A send of an executor that lost the job while it was paused.
    pub zombie: Option<u16>,
    pub ledger: BTreeMap<String, Bought>,
    pub lied: BTreeSet<u16>,
    /// Attempts that the provider refused and took all the same, told of by now or not.
    pub ever_lied: BTreeSet<u16>,
    /// Watched to the limit without anybody learning what became of it.
    pub gave_up: BTreeSet<u16>,
    pub left: Left,
    /// The client's limit on cost, where it has one.
    pub cost: Option<Cost>,
    /// The job was ended for it, and not retried since.
    pub refused: Refused,
    pub broken: Option<String>,
}

impl World {
    pub fn new(left: Left, cost: Option<Cost>) -> Self {
        let clock = Arc::new(Frozen(AtomicI64::new(1_000_000_000)));
        let store = MemoryStore::new(clock.clone());
        let info = ExecutorInfo { process: ProcessInfo::default(), ttl: Duration::from_secs(15) };
        let executor = now(store.register_executor(info.clone())).unwrap();
        now(store.register_executor(info)).unwrap();
        let request = VideoRequest {
            prompt: "a river".into(),
            model: "model".into(),
            seconds: 1,
            size: Size { width: 16, height: 16 },
            input: None,
            metadata: BTreeMap::new(),
            priority: 0,
            provider_options: None,
            source: None,
            max_cost_usd_micros: cost.map(|cost| cost.limit),
            webhook: None,
        };
        let deadline = Some(DEADLINE);
        let new = NewJob { job: job(), project: PROJECT, request, pool: PoolId::NONE, deadline, idempotency: None };
        now(store.create(vec![new])).unwrap();
        Self {
            store,
            clock,
            at: 1_000_000_000,
            executor,
            memory: None,
            zombie: None,
            ledger: BTreeMap::new(),
            lied: BTreeSet::new(),
            ever_lied: BTreeSet::new(),
            gave_up: BTreeSet::new(),
            left,
            cost,
            refused: None,
            broken: None,
        }
    }

    /// Worlds share one clock: each turns it to its own time before it is looked at.
    pub fn turn_clock(&self) {
        self.clock.0.store(self.at, Ordering::SeqCst);
    }

    pub fn fork(&self) -> Self {
        self.turn_clock();
        Self {
            store: self.store.fork(),
            clock: self.clock.clone(),
            at: self.at,
            executor: self.executor,
            memory: self.memory.clone(),
            zombie: self.zombie,
            ledger: self.ledger.clone(),
            lied: self.lied.clone(),
            ever_lied: self.ever_lied.clone(),
            gave_up: self.gave_up.clone(),
            left: self.left,
            cost: self.cost,
            refused: self.refused,
            broken: None,
        }
    }

    pub fn record(&self) -> Record {
        self.store.records().pop().expect("the job")
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        self.store.attempts().into_iter().map(|(_, attempt)| attempt).collect()
    }

    /// Watch rows.
    pub fn watched(&self) -> Vec<AttemptNo> {
        let watch = self.store.work().into_iter().filter(|(key, _)| key.kind == WorkKind::Watch);
        watch.filter_map(|(key, _)| u16::try_from(key.reference).ok().map(AttemptNo)).collect()
    }

    /// The drive row: whether it has an owner, and whether it is due.
    pub fn drive(&self) -> Option<(bool, bool)> {
        let row = self.store.work().into_iter().find(|(key, _)| *key == WorkKey::drive(job()));
        row.map(|(_, row)| (row.owner.is_some(), row.due_at <= self.clock.now()))
    }

    /// The provider job an attempt bought, known to us or not.
    pub fn bought_by(&self, n: u16) -> Option<(String, Truth)> {
        let mut bought = self.ledger.iter().filter(|(_, bought)| bought.n == n);
        bought.next().map(|(name, bought)| (name.clone(), bought.truth))
    }

    /// Nothing of this attempt is at the provider, nor can it come there any more.
    pub fn is_absent(&self, n: u16) -> bool {
        let sending = self.memory.as_ref().and_then(|memory| memory.sending);
        self.bought_by(n).is_none() && self.zombie != Some(n) && sending != Some(n)
    }

    pub fn buy(&mut self, n: u16) {
        self.ledger.insert(format!("p{n}"), Bought { n, truth: Truth::Pending });
    }

    pub fn set_truth(&mut self, name: &str, truth: Truth) {
        if let Some(bought) = self.ledger.get_mut(name) {
            bought.truth = truth;
        }
    }

    pub fn testify(&self, n: u16, evidence: Evidence, wake: bool) {
        let (attempt, exchanges) = (AttemptNo(n), Vec::new());
        let wake = if wake { Wake::Owner } else { Wake::Others };
        let item = EvidenceRecord {
            job: job(),
            attempt,
            nonce: None,
            ended: None,
            evidence,
            by_resemblance: false,
            exchanges,
            wake,
        };
        now(self.store.record_evidence(vec![item])).unwrap();
    }

    /// What tells worlds apart: everything but numbers that only count up.
    pub fn face(&self) -> String {
        let mut face = String::with_capacity(400);
        let now = self.clock.now();
        write_record(&mut face, &self.record(), now);
        for attempt in self.attempts() {
            write_attempt(&mut face, &attempt);
        }
        let _ = write!(face, "|{:?}{:?}", self.drive(), self.watched());
        if let Some((_, row)) = self.store.work().first() {
            let _ = write!(face, "{}", row.due_at == Timestamp::NEVER);
        }
        for orphan in self.store.orphans() {
            let _ = write!(face, "o{}", orphan.provider_job);
        }
        if let Some(memory) = &self.memory {
            let _ = write!(face, "|m{:?}{}{:?}", memory.sending, memory.fold, memory.weighed);
            write_record(&mut face, &memory.record, now);
            if let Some(attempt) = &memory.record.attempt {
                write_attempt(&mut face, attempt);
            }
        }
        let hidden = self.store.is_hidden(job());
        let _ = write!(face, "|{:?}{:?}{:?}{:?}{hidden}", self.zombie, self.ledger, self.lied, self.gave_up);
        let _ = write!(face, "{:?}{:?}", self.left, self.refused);
        if self.cost.is_some() {
            let _ = write!(face, "{:?}", self.ever_lied);
        }
        face
    }

    /// I4: what was bought is known, or can still become known.
    pub fn forgotten(&self) -> Option<String> {
        if self.store.is_hidden(job()) {
            return None;
        }
        let live = !self.record().state.is_terminal();
        let watched = self.watched();
        let orphans = self.store.orphans();
        for (text, bought) in &self.ledger {
            let attempt = self.attempts().into_iter().find(|attempt| attempt.n.0 == bought.n)?;
            let mine = attempt.provider_job.as_ref().is_some_and(|known| known.as_str() == text);
            let other = attempt.provider_job.is_some() && !mine;
            let orphan = orphans.iter().any(|orphan| orphan.provider_job.as_str() == text);
            let followed = watched.contains(&attempt.n) || self.gave_up.contains(&bought.n);
            let kept = match attempt.state {
                AttemptState::Accepted => live,
                AttemptState::LateAccepted => followed || orphan,
                AttemptState::FailedAtProvider | AttemptState::Done => true,
                AttemptState::Intent | AttemptState::Unknown => live || followed,
                AttemptState::Waived => followed,
                // Only a provider that lied makes this possible, and its call back is still to come.
                AttemptState::NotAccepted => self.lied.contains(&bought.n),
            };
            // A second provider job of one attempt is unknown until somebody names it; then it is an orphan.
            if !orphan && !other && !kept {
                return Some(format!("I4: {text} is forgotten, its attempt is {}", attempt.state.word()));
            }
        }
        None
    }
}

fn write_record(face: &mut String, record: &Record, now: Timestamp) {
    let _ = write!(face, "{:?}{:?}", record.state.name(), record.state.attempt());
    if let JobState::Failed { failure } = &record.state {
        face.push_str(failure.code.code());
    }
    let cancel = record.cancel.map(|cancel| cancel.outcome);
    let (late, closed) = (record.deadline_passed(now), record.unavailable_since.is_some());
    let (used, first) = (record.attempts_used, record.first_attempt);
    let _ = write!(face, "{cancel:?}{late}{closed}{used}{first}{:?}", record.progress);
}

fn write_attempt(face: &mut String, attempt: &Attempt) {
    let retry = attempt.rejection.as_ref().map(|rejection| rejection.retry as i16);
    let verdict = attempt.decision.as_ref().map(|decision| decision.verdict as i16);
    let known = attempt.provider_job.as_ref().map_or("", |known| known.as_str());
    let _ = write!(face, "[{}{}{known}{retry:?}{verdict:?}@{}]", attempt.n, attempt.state as i16, attempt.account);
}

pub fn intent(n: AttemptNo, executor: ExecutorId, account: AccountId, at: Timestamp) -> Attempt {
    Attempt {
        n,
        state: AttemptState::Intent,
        executor,
        nonce: Nonce(i64::from(n.0)),
        account,
        model: "model".into(),
        client_ref: ClientRef::from_hash(&[1; 16]),
        provider_job: None,
        intent_at: at,
        send_deadline_at: at + Duration::from_secs(10),
        resolved_at: None,
        request_ended_at: None,
        rejection: None,
        decision: None,
    }
}

pub fn output(n: u16) -> Artifact {
    let attempt = AttemptNo(n);
    Artifact {
        attempt,
        n: 0,
        key: ArtifactKey::output(PROJECT, job(), attempt, 0, Fence(1)),
        bytes: 1,
        sha256: Digest([1; 32]),
        media_type: "video/mp4".into(),
        media: MediaInfo { width: 16, height: 16, duration_ms: 1_000, frames: 24, codec: "avc1".into() },
    }
}

pub fn refusal(retry: Retry) -> Rejection {
    Rejection { failure: failure(), retry, retry_after: None }
}

pub fn failure() -> Failure {
    Failure::new(FailureCode::ProviderError, "no")
}
