//! What cases start from: a store with a clock that stands still, jobs in each state, folders that go away.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use longtake_core::apply::{Input, LateInput};
use longtake_core::artifact::{Artifact, ArtifactKey, Digest, MediaInfo};
use longtake_core::attempt::{Attempt, AttemptState, Evidence, Rejection, Retry};
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{
    AccountId, AttemptNo, ClientRef, ExecutorId, JobId, Nonce, PoolId, ProjectId, ProviderJobId, Random,
};
use longtake_core::limits::{AttemptLimits, Limits};
use longtake_core::pacing::Budget;
use longtake_core::record::Record;
use longtake_core::request::{Size, VideoRequest};
use longtake_core::store::{
    Claim, CreateResult, EvidenceRecord, ExecutorInfo, NewJob, OpenAttempt, OpenResult, Place, ProcessInfo, Release,
    StepCommit, StepInput, StepResult, Store, Wake, Wanted, WantedAccount,
};
use longtake_core::time::{Clock, Timestamp};
use longtake_store::{Fatal, OpenOptions};

pub const PROJECT: ProjectId = ProjectId(1);
pub const ACCOUNT: AccountId = AccountId(1);
/// The provider's name for the model of intents.
pub const MODEL: &str = "vendor-model";
pub const BUDGET: Budget = Budget { max_attempts: 3, routes: 1, unavailable_limit: Duration::from_secs(600) };

/// A clock that moves when it is told to.
pub struct HandClock(AtomicI64);

impl HandClock {
    pub fn new() -> Self {
        Self(AtomicI64::new(1_790_000_000_000_000))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.load(Ordering::SeqCst)).unwrap())
    }

    fn sleep(&self, _duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

/// Random numbers from a seed (SplitMix64).
pub struct Seeded(AtomicU64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst).wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A folder of its own that goes away with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("store-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The URL of a database in it.
    pub fn url(&self) -> String {
        format!("sqlite:{}", self.0.join("longtake.db").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Options whose `fatal` is a failure of the test.
pub fn options(clock: Arc<dyn Clock>) -> OpenOptions {
    let fatal: Fatal = Arc::new(|reason| panic!("the store stopped: {reason}"));
    OpenOptions { clock, random: Arc::new(Seeded::new(7)), fatal }
}

/// A store and its clock.
pub struct Given {
    pub store: Arc<dyn Store>,
    pub clock: Arc<HandClock>,
    /// One process for ever: nobody else to share with, and nobody who could give an executor up.
    pub alone: bool,
    random: Seeded,
}

impl Given {
    pub fn new(store: Arc<dyn Store>, clock: Arc<HandClock>) -> Self {
        Self { store, clock, alone: false, random: Seeded::new(1) }
    }

    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub async fn executor(&self) -> ExecutorId {
        self.store.register_executor(info()).await.unwrap()
    }

    /// The models of [`ACCOUNT`], numbered. All that a case needs are to be named at once.
    pub async fn pools<const N: usize>(&self, models: [&str; N]) -> [PoolId; N] {
        let account = ("main".to_owned(), "sandbox".to_owned());
        assert_eq!(self.store.register_accounts(vec![account]).await.unwrap(), [ACCOUNT]);
        let named = models.iter().map(|model| (ACCOUNT, (*model).into())).collect();
        self.store.register_pools(named).await.unwrap().try_into().unwrap()
    }

    /// A job that waits in a pool.
    pub async fn queued_in(&self, pool: PoolId) -> JobId {
        self.create(NewJob { pool, ..self.new_job() }).await
    }

    /// What an executor gets.
    pub async fn take(&self, executor: ExecutorId, wanted: &Wanted) -> Vec<JobId> {
        self.store.acquire(executor, wanted).await.unwrap().iter().map(|claim| claim.work.job).collect()
    }

    /// A job that is not in the store yet. Later ones sort later.
    pub fn new_job(&self) -> NewJob {
        self.clock.advance(Duration::from_millis(1));
        let job = JobId::new(self.now(), &self.random);
        let request = request("a fox");
        NewJob { job, project: PROJECT, request, pool: PoolId::NONE, deadline: None, idempotency: None }
    }

    pub async fn create(&self, new: NewJob) -> JobId {
        match self.store.create(vec![new]).await.unwrap().pop() {
            Some(CreateResult::Created(job)) => job.record.job,
            other => panic!("not created: {other:?}"),
        }
    }

    pub async fn queued(&self) -> JobId {
        self.create(self.new_job()).await
    }

    /// The claim on the one thing that is due.
    pub async fn acquire(&self, executor: ExecutorId) -> Claim {
        let mut claims = self.store.acquire(executor, &wanted(10)).await.unwrap();
        assert_eq!(claims.len(), 1, "one row is due: {claims:?}");
        claims.remove(0)
    }

    pub fn intent(&self, executor: ExecutorId, claim: &Claim) -> OpenAttempt {
        let n = claim.record.next_attempt();
        let attempt = Attempt {
            n,
            state: AttemptState::Intent,
            executor,
            nonce: Nonce(i64::from(n.0) * 1_000 + 7),
            account: ACCOUNT,
            model: MODEL.into(),
            client_ref: ClientRef::from_hash(&[u8::try_from(n.0).unwrap(); 16]),
            provider_job: None,
            intent_at: self.now(),
            send_deadline_at: self.now() + Duration::from_secs(60),
            resolved_at: None,
            request_ended_at: None,
            rejection: None,
            decision: None,
        };
        OpenAttempt { work: claim.work, fence: claim.fence, attempt, limits: AttemptLimits::default() }
    }

    /// Opens an attempt; the claim goes on with the record as it then is.
    pub async fn open(&self, executor: ExecutorId, claim: &mut Claim) {
        let opened = self.store.open_attempts(executor, vec![self.intent(executor, claim)]).await.unwrap();
        match &opened[..] {
            [OpenResult::Opened(record)] => claim.record = record.clone(),
            other => panic!("not opened: {other:?}"),
        }
    }

    pub async fn testify(&self, claim: &Claim, evidence: Evidence) {
        let attempt = claim.record.attempt.as_ref().unwrap().n;
        self.store.record_evidence(vec![evidence_of(claim.record.job, attempt, evidence)]).await.unwrap();
    }

    /// One decision, and what became of it.
    pub async fn try_step(&self, executor: ExecutorId, claim: &Claim, input: StepInput) -> StepResult {
        let commit = StepCommit { work: claim.work, fence: claim.fence, input, exchanges: Vec::new(), release: None };
        self.store.step(executor, vec![commit]).await.unwrap().remove(0)
    }

    /// One decision that applies.
    pub async fn step(&self, executor: ExecutorId, claim: &mut Claim, input: Input) {
        match self.try_step(executor, claim, StepInput::Job(input.clone())).await {
            StepResult::Applied(record) => claim.record = record,
            other => panic!("{} did not apply: {other:?}", input.name()),
        }
    }

    /// One decision about a late attempt that applies.
    pub async fn step_late(&self, executor: ExecutorId, claim: &Claim, input: LateInput) -> Record {
        match self.try_step(executor, claim, StepInput::Late(input)).await {
            StepResult::Applied(record) => record,
            other => panic!("did not apply: {other:?}"),
        }
    }

    pub async fn submitting(&self, executor: ExecutorId) -> Claim {
        self.queued().await;
        let mut claim = self.acquire(executor).await;
        self.open(executor, &mut claim).await;
        claim
    }

    pub async fn held(&self, executor: ExecutorId) -> Claim {
        let mut claim = self.submitting(executor).await;
        self.step(executor, &mut claim, Input::TakenOver).await;
        self.step(executor, &mut claim, Input::VerifyExpired).await;
        claim
    }

    pub async fn running(&self, executor: ExecutorId, provider_job: &str) -> Claim {
        let mut claim = self.submitting(executor).await;
        self.testify(&claim, accepted(provider_job)).await;
        self.step(executor, &mut claim, Input::Fold(BUDGET)).await;
        self.store.woken(executor, 10).await.unwrap();
        claim
    }

    pub async fn completed(&self, executor: ExecutorId, provider_job: &str) -> Claim {
        let mut claim = self.running(executor, provider_job).await;
        self.clock.advance(Duration::from_secs(30));
        self.step(executor, &mut claim, Input::ProviderDone).await;
        let output = output(&claim);
        self.step(executor, &mut claim, Input::Stored(vec![output])).await;
        claim
    }

    pub async fn attempt(&self, job: JobId, n: u16) -> Attempt {
        let timeline = self.store.timeline(PROJECT, job).await.unwrap().unwrap();
        timeline.attempts.into_iter().find(|attempt| attempt.n == AttemptNo(n)).unwrap()
    }

    pub async fn record(&self, job: JobId) -> Record {
        self.store.get(PROJECT, job).await.unwrap().unwrap().record
    }
}

/// Due rows only, of no pool.
pub fn wanted(due: usize) -> Wanted {
    Wanted { due, ..Wanted::default() }
}

/// Everything of [`ACCOUNT`] that these pools have, without limits.
pub fn all_of(pools: &[PoolId]) -> Wanted {
    let pools = pools.iter().map(|pool| (*pool, Limits::NONE)).collect();
    let account =
        WantedAccount { account: ACCOUNT, limits: Limits::NONE, pools, takes_queued: true, overdue: Duration::ZERO };
    Wanted { due: 10, queued: 10, accounts: vec![account] }
}

/// As [`all_of`], with limits of the account.
pub fn limited(pools: &[PoolId], limits: Limits) -> Wanted {
    let mut wanted = all_of(pools);
    wanted.accounts[0].limits = limits;
    wanted
}

pub fn slots(limit: u32) -> Limits {
    Limits { max_in_flight: Some(limit), per_minute: None }
}

pub fn pace(per_minute: u32) -> Limits {
    Limits { max_in_flight: None, per_minute: Some(per_minute) }
}

/// To be given back, not queued, to anyone.
pub fn released(claim: &Claim, due_at: Timestamp) -> Release {
    Release { work: claim.work, fence: claim.fence, due_at, place: Place::default() }
}

/// To be given back to a pool.
pub fn placed(claim: &Claim, due_at: Timestamp, pool: PoolId, queued: bool) -> Release {
    Release { place: Place { pool, queued }, ..released(claim, due_at) }
}

pub fn info() -> ExecutorInfo {
    let process = ProcessInfo {
        host: "here".to_owned(),
        boot_id: "boot".to_owned(),
        pid_namespace: "4026531836".to_owned(),
        pid: 1,
        started_ticks: 4_711,
    };
    ExecutorInfo { process, ttl: Duration::from_secs(15) }
}

pub fn request(prompt: &str) -> VideoRequest {
    VideoRequest {
        prompt: prompt.into(),
        model: "fast".into(),
        seconds: 4,
        size: Size { width: 1280, height: 720 },
        input: None,
        metadata: BTreeMap::new(),
        priority: 0,
        provider_options: None,
        source: None,
        max_cost_usd_micros: None,
        webhook: None,
    }
}

pub fn evidence_of(job: JobId, attempt: AttemptNo, evidence: Evidence) -> EvidenceRecord {
    EvidenceRecord {
        job,
        attempt,
        nonce: None,
        ended: None,
        evidence,
        by_resemblance: false,
        exchanges: Vec::new(),
        wake: Wake::Owner,
    }
}

pub fn accepted(provider_job: &str) -> Evidence {
    Evidence::Accepted(ProviderJobId::new(provider_job).unwrap())
}

pub fn rejected(retry: Retry) -> Evidence {
    let failure = Failure::new(FailureCode::InvalidRequest, "no");
    Evidence::NotAccepted(Rejection { failure, retry, retry_after: Some(Duration::from_secs(2)) })
}

pub fn output(claim: &Claim) -> Artifact {
    let attempt = claim.late.as_ref().or(claim.record.attempt.as_ref()).unwrap().n;
    Artifact {
        attempt,
        n: 0,
        key: ArtifactKey::output(PROJECT, claim.record.job, attempt, 0, claim.fence),
        bytes: 1_234,
        sha256: Digest([9; 32]),
        media_type: "video/mp4".into(),
        media: MediaInfo { width: 1280, height: 720, duration_ms: 4_000, frames: 96, codec: "avc1".into() },
    }
}
