//! The life of jobs in batches, through the store contract alone: what an engine asks of the store, without an engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longtake_core::apply::Input;
use longtake_core::artifact::{Artifact, ArtifactKey, Digest, MediaInfo};
use longtake_core::attempt::{Attempt, AttemptState, Evidence};
use longtake_core::id::{
    AccountId, AttemptNo, ClientRef, ExecutorId, JobId, Nonce, PoolId, ProjectId, ProviderJobId, Random,
};
use longtake_core::limits::{AttemptLimits, Limits};
use longtake_core::pacing::Budget;
use longtake_core::request::{Size, VideoRequest};
use longtake_core::store::{
    Claim, EvidenceRecord, ExecutorInfo, NewJob, OpenAttempt, OpenResult, ProcessInfo, StepCommit, StepInput,
    StepResult, Store, StoreError, Wake, Wanted, WantedAccount, WorkKind,
};
use longtake_core::time::{Clock, Timestamp};
use longtake_core::webhook::{Answer, EventTypes, NewEndpoint, Room, Tried, Try};
use longtake_store::{OpenOptions, PostgresTuning};

use crate::Outcome;

/// How long what is taken is tried; here it is recorded at once.
const LEASE: Duration = Duration::from_secs(30);
/// The provider's model.
pub const MODEL: &str = "wan";
/// Longer than any case: its executor is not given up.
const TTL: Duration = Duration::from_secs(86_400);
const BUDGET: Budget = Budget { max_attempts: 3, routes: 1, unavailable_limit: Duration::from_secs(86_400) };
const NO_LIMITS: AttemptLimits = AttemptLimits { pool: PoolId::NONE, account: Limits::NONE, model: Limits::NONE };

/// The machine's time.
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(self.monotonic().as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn sleep(&self, duration: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Numbers that differ from run to run; nobody attacks a benchmark.
pub struct Numbers(AtomicU64);

impl Numbers {
    pub fn new() -> Self {
        Self(AtomicU64::new(u64::try_from(WallClock.monotonic().as_nanos() & u128::from(u64::MAX)).unwrap_or(0)))
    }
}

impl Random for Numbers {
    /// SplitMix64.
    fn fill(&self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let mut number = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            number ^= number >> 31;
            piece.copy_from_slice(&number.to_le_bytes()[..piece.len()]);
        }
    }
}

/// The message of a store's error.
pub fn of_store(error: StoreError) -> String {
    let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(" ({cause})"));
    format!("{error}{cause}")
}

/// A store on PostgreSQL, as a release opens it.
pub async fn connect(url: &str, connections: usize) -> Outcome<Arc<dyn Store>> {
    open(url, PostgresTuning { connections, ..PostgresTuning::default() }).await
}

/// The same without hints to other processes: each is a transaction of its own, and they come by the clock.
pub async fn connect_silently(url: &str, connections: usize) -> Outcome<Arc<dyn Store>> {
    open(url, PostgresTuning { connections, hints: false, ..PostgresTuning::default() }).await
}

async fn open(url: &str, tuning: PostgresTuning) -> Outcome<Arc<dyn Store>> {
    let fatal: longtake_store::Fatal = Arc::new(|reason| eprintln!("the store gave up: {reason}"));
    let options = OpenOptions { clock: Arc::new(WallClock), random: Arc::new(Numbers::new()), fatal };
    longtake_store::connect(url, options, tuning).await.map_err(|error| error.to_string())
}

/// One executor with one account that has no limits.
pub struct Life {
    pub store: Arc<dyn Store>,
    pub executor: ExecutorId,
    pub account: AccountId,
    pub pool: PoolId,
    random: Numbers,
}

impl Life {
    pub async fn begin(store: Arc<dyn Store>) -> Outcome<Self> {
        let executor = register(&*store, TTL).await?;
        let accounts = store.register_accounts(vec![("sim".to_owned(), "openai_compatible".to_owned())]);
        let account = *accounts.await.map_err(of_store)?.first().ok_or("no account")?;
        let pools = store.register_pools(vec![(account, MODEL.into())]).await.map_err(of_store)?;
        let pool = *pools.first().ok_or("no pool")?;
        Ok(Self { store, executor, account, pool, random: Numbers::new() })
    }

    /// Jobs of project 1, queued.
    pub async fn create(&self, count: usize) -> Outcome {
        let jobs = (0..count).map(|_| self.new_job()).collect();
        self.store.create(jobs).await.map(drop).map_err(of_store)
    }

    fn new_job(&self) -> NewJob {
        let request = VideoRequest {
            prompt: format!("a boat on a lake at dawn, number {}", self.random.u64()).into(),
            model: "sim".into(),
            seconds: 4,
            size: Size { width: 1280, height: 720 },
            input: None,
            metadata: BTreeMap::new(),
            priority: 0,
            provider_options: None,
            source: None,
            max_cost_usd_micros: None,
            webhook: None,
        };
        NewJob {
            job: JobId::new(WallClock.now(), &self.random),
            project: ProjectId(1),
            request,
            pool: self.pool,
            deadline: None,
            idempotency: None,
        }
    }

    /// What it asks for: this many due rows, this many queued ones.
    pub fn wanted(&self, due: usize, queued: usize) -> Wanted {
        let account = WantedAccount {
            account: self.account,
            limits: Limits::NONE,
            pools: vec![(self.pool, Limits::NONE)],
            takes_queued: queued > 0,
            overdue: Duration::ZERO,
        };
        Wanted { due, queued, accounts: vec![account] }
    }

    pub async fn acquire(&self, due: usize, queued: usize) -> Outcome<Vec<Claim>> {
        self.store.acquire(self.executor, &self.wanted(due, queued)).await.map_err(of_store)
    }

    /// T2: intents of queued jobs.
    pub async fn open(&self, claims: &mut [Claim]) -> Outcome {
        let now = WallClock.now();
        let intents = claims.iter().map(|claim| OpenAttempt {
            work: claim.work,
            fence: claim.fence,
            attempt: self.intent(now),
            limits: AttemptLimits { pool: self.pool, ..NO_LIMITS },
        });
        let opened = self.store.open_attempts(self.executor, intents.collect()).await.map_err(of_store)?;
        for (claim, result) in claims.iter_mut().zip(opened) {
            match result {
                OpenResult::Opened(record) => claim.record = record,
                other => return Err(format!("an intent was answered with {other:?}")),
            }
        }
        Ok(())
    }

    fn intent(&self, now: Timestamp) -> Attempt {
        let mut hash = [0; 16];
        self.random.fill(&mut hash);
        Attempt {
            n: AttemptNo(1),
            state: AttemptState::Intent,
            executor: self.executor,
            nonce: Nonce(i64::from_le_bytes(self.random.u64().to_le_bytes())),
            account: self.account,
            model: MODEL.into(),
            client_ref: ClientRef::from_hash(&hash),
            provider_job: None,
            intent_at: now,
            send_deadline_at: now + Duration::from_secs(60),
            resolved_at: None,
            request_ended_at: None,
            rejection: None,
            decision: None,
        }
    }

    /// The provider has them all.
    pub async fn accept(&self, claims: &[Claim]) -> Outcome {
        let evidence = claims.iter().map(|claim| {
            let name = format!("gen_{:016x}", self.random.u64());
            let provider_job = ProviderJobId::new(&name).ok_or("no id of a provider")?;
            Ok(EvidenceRecord {
                job: claim.work.job,
                attempt: AttemptNo(1),
                nonce: claim.record.attempt.as_ref().map(|attempt| attempt.nonce),
                ended: claim.record.attempt.as_ref().map(Attempt::sender),
                evidence: Evidence::Accepted(provider_job),
                by_resemblance: false,
                exchanges: Vec::new(),
                wake: Wake::Others,
            })
        });
        let evidence = evidence.collect::<Outcome<Vec<_>>>()?;
        self.store.record_evidence(evidence).await.map_err(of_store)
    }

    /// One decision about each.
    pub async fn step(&self, claims: &mut [Claim], input: impl Fn(&Claim) -> Input + Send + Sync) -> Outcome {
        let commits = claims.iter().map(|claim| StepCommit {
            work: claim.work,
            fence: claim.fence,
            input: StepInput::Job(input(claim)),
            exchanges: Vec::new(),
            release: None,
        });
        let results = self.store.step(self.executor, commits.collect()).await.map_err(of_store)?;
        for (claim, result) in claims.iter_mut().zip(results) {
            match result {
                StepResult::Applied(record) => claim.record = record,
                other => return Err(format!("a step was answered with {other:?}")),
            }
        }
        Ok(())
    }

    /// Takes queued jobs and brings them to where the provider works on them.
    pub async fn submit(&self, count: usize) -> Outcome<Vec<Claim>> {
        let mut claims = self.acquire(0, count).await?;
        claims.retain(|claim| claim.work.kind == WorkKind::Drive);
        if claims.is_empty() {
            return Ok(claims);
        }
        self.open(&mut claims).await?;
        self.accept(&claims).await?;
        self.step(&mut claims, |_| Input::Fold(BUDGET)).await?;
        Ok(claims)
    }

    /// Ends them well.
    pub async fn complete(&self, claims: &mut [Claim]) -> Outcome {
        self.step(claims, |_| Input::ProviderDone).await?;
        self.step(claims, |claim| Input::Stored(vec![output(claim)])).await
    }

    /// An endpoint of the jobs' project that wants these types.
    pub async fn subscribe(&self, types: EventTypes) -> Outcome {
        let (url, description) = ("https://receiver.invalid".into(), "".into());
        let endpoint = NewEndpoint { project: ProjectId(1), url, types, description, salt: [7; 16] };
        self.store.create_endpoint(endpoint).await.map_err(of_store)?.map(drop).ok_or_else(|| "no endpoint".to_owned())
    }

    /// Takes what is due, this many at once, and records that it was received, until nothing is left. How many.
    pub async fn deliver(&self, most: usize) -> Outcome<usize> {
        let room = Room { limit: most, per_endpoint: most, busy: BTreeMap::new(), lease: LEASE };
        let mut delivered = 0;
        loop {
            let due = self.store.take_deliveries(&room).await.map_err(of_store)?;
            if due.is_empty() {
                return Ok(delivered);
            }
            delivered += due.len();
            let log = Try { at: WallClock.now(), status: Some(204), duration_ms: 3, words: "".into() };
            let tried = due.iter().map(|due| Tried {
                delivery: due.delivery.id,
                answer: Answer::Taken,
                log: log.clone(),
                jitter: 0,
            });
            self.store.finish_deliveries(tried.collect()).await.map_err(of_store)?;
        }
    }

    /// The whole life of a batch: created, taken, submitted, accepted, running, storing, completed. How many.
    pub async fn whole(&self, count: usize) -> Outcome<usize> {
        self.create(count).await?;
        let mut claims = self.submit(count).await?;
        if !claims.is_empty() {
            self.complete(&mut claims).await?;
        }
        Ok(claims.len())
    }
}

/// A new incarnation in this process.
pub async fn register(store: &dyn Store, ttl: Duration) -> Outcome<ExecutorId> {
    let process = ProcessInfo { host: "bench".to_owned(), ..ProcessInfo::default() };
    store.register_executor(ExecutorInfo { process, ttl }).await.map_err(of_store)
}

fn output(claim: &Claim) -> Artifact {
    let attempt = claim.record.attempt.as_ref().map_or(AttemptNo(1), |attempt| attempt.n);
    Artifact {
        attempt,
        n: 0,
        key: ArtifactKey::output(claim.record.project, claim.work.job, attempt, 0, claim.fence),
        bytes: 65_536,
        sha256: Digest([7; 32]),
        media_type: "video/mp4".into(),
        media: MediaInfo { width: 1280, height: 720, duration_ms: 4_000, frames: 96, codec: "avc1".into() },
    }
}
