//! L1: the same random operations on both stores, under one clock, give the same answers.
//!
//! Left out: what the two are meant to do differently (reap, senders that are dead, order of `owned`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longtake_core::apply::{Input, LateInput};
use longtake_core::artifact::ArtifactKey;
use longtake_core::attempt::{Decision, Evidence, Retry, Verdict};
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, AttemptNo, ExecutorId, Fence, JobId, Nonce, ProjectId, ProviderJobId, Random};
use longtake_core::memory_store::MemoryStore;
use longtake_core::provider::Exchange;
use longtake_core::record::{CancelOutcome, Record};
use longtake_core::state::{JobState, Status};
use longtake_core::store::{
    Claim, EvidenceRecord, IdempotencyKey, ListFilter, NewJob, OpenAttempt, OpenResult, Resolution, StepCommit,
    StepInput, StepResult, Store, WorkKey, WorkKind,
};
use longtake_store::Tuning;

use crate::given::{BUDGET, Folder, Given, HandClock, Seeded, accepted, evidence_of, options, output, rejected};

const SEEDS: u64 = 12;
const OPERATIONS: usize = 700;
/// Old claims are kept to be used again, stale as they are.
const MAX_CLAIMS: usize = 24;

struct World {
    memory: Arc<MemoryStore>,
    sqlite: Arc<dyn Store>,
    /// Makes jobs and intents.
    given: Given,
    dice: Seeded,
    executors: Vec<ExecutorId>,
    projects: Vec<ProjectId>,
    jobs: Vec<(ProjectId, JobId)>,
    claims: Vec<Claim>,
    context: String,
}

/// Asks both stores and compares; the arguments are made anew for each.
macro_rules! same {
    ($world:ident.$call:ident($($argument:expr),*)) => {{
        let expected = $world.memory.$call($($argument),*).await.unwrap();
        let answered = $world.sqlite.$call($($argument),*).await;
        let answered = answered.unwrap_or_else(|error| panic!("{}: {error}", $world.context));
        assert_eq!(answered, expected, "{}: {}", $world.context, stringify!($call));
        expected
    }};
}

impl World {
    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.dice.below(u64::try_from(bound).unwrap())).unwrap()
    }

    fn one_in(&self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    fn pick<T: Clone>(&self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len())].clone()) }
    }

    fn job(&self) -> (ProjectId, JobId) {
        let (project, job) = self.pick(&self.jobs).unwrap_or((ProjectId(1), self.given.new_job().job));
        (if self.one_in(20) { ProjectId(2) } else { project }, job)
    }

    fn executor(&self) -> ExecutorId {
        self.executors[self.below(self.executors.len())]
    }

    fn keep(&mut self, claims: Vec<Claim>) {
        self.claims.extend(claims);
        let surplus = self.claims.len().saturating_sub(MAX_CLAIMS);
        self.claims.drain(..surplus);
    }

    /// The owner goes on with the record as it now is; sometimes it forgets to.
    fn learn(&mut self, record: &Record) {
        if !self.one_in(8) {
            self.claims.iter_mut().filter(|claim| claim.work.job == record.job).for_each(|claim| {
                claim.record = record.clone();
            });
        }
    }

    async fn create(&mut self) {
        let mut new = self.given.new_job();
        if self.one_in(6)
            && let Some((_, job)) = self.pick(&self.jobs)
        {
            new.job = job;
        }
        new.project = self.projects[self.below(self.projects.len())];
        new.request.model = if self.one_in(3) { "slow" } else { "fast" }.into();
        new.request.priority = i16::try_from(self.below(5)).unwrap();
        if self.one_in(3) {
            new.request.metadata = BTreeMap::from([("team".to_owned(), format!("t{}", self.below(2)))]);
        }
        if self.one_in(4) {
            new.deadline = Some(Duration::from_secs(20));
        }
        if self.one_in(2) {
            let fingerprint = [u8::try_from(self.below(2)).unwrap(); 32];
            new.idempotency = Some(IdempotencyKey { key: format!("k{}", self.below(8)).into(), fingerprint });
        }
        let again = NewJob { job: self.given.new_job().job, ..new.clone() };
        let both = if self.one_in(3) { vec![new.clone(), again.clone()] } else { vec![new.clone()] };
        same!(self.create(both.clone()));
        self.jobs.extend([(new.project, new.job), (again.project, again.job)]);
    }

    async fn acquire(&mut self) {
        let (executor, limit) = (self.executor(), self.below(4));
        let claims = same!(self.acquire(executor, limit));
        self.keep(claims);
        let woken = same!(self.woken(executor, limit));
        self.keep(woken);
    }

    async fn open(&mut self) {
        let Some(claim) = self.pick(&self.claims) else { return };
        let executor = self.executor();
        let mut open = self.given.intent(executor, &claim);
        open.attempt.account = AccountId(i32::try_from(self.below(2)).unwrap() + 1);
        let second = OpenAttempt { account_limit: Some(3), ..open.clone() };
        open.account_limit = self.pick(&[None, Some(1), Some(3)]).flatten();
        let opened = same!(self.open_attempts(executor, vec![open.clone(), second.clone()]));
        for answer in opened {
            if let OpenResult::Opened(record) | OpenResult::Conflict(record) = answer {
                self.learn(&record);
            }
        }
    }

    fn evidence(&self) -> Evidence {
        let retry = [Retry::Never, Retry::NextRoute, Retry::Counted, Retry::Free][self.below(4)];
        match self.below(5) {
            0 => Evidence::Unknown,
            1 => rejected(retry),
            _ => accepted(&format!("p-{}", self.below(12))),
        }
    }

    fn exchange(&self) -> Exchange {
        Exchange {
            call: ["submit", "find", "poll", "fetch", "cancel"][self.below(5)],
            at: self.given.now(),
            request: "POST https://provider.example/v1/videos".into(),
            status: self.pick(&[None, Some(200), Some(503)]).flatten(),
            duration_ms: 12,
            answer: "{}".into(),
        }
    }

    async fn testify(&mut self) {
        let (_, job) = self.job();
        let n = AttemptNo(u16::try_from(self.below(3)).unwrap() + 1);
        let mut item: EvidenceRecord = evidence_of(job, n, self.evidence());
        item.wake = !self.one_in(3);
        item.nonce = self.pick(&[None, Some(Nonce(1_007)), Some(Nonce(5))]).flatten();
        item.exchanges = if self.one_in(2) { vec![self.exchange()] } else { Vec::new() };
        same!(self.record_evidence(vec![item.clone(), item.clone()]));
    }

    /// Mostly what an owner would do, sometimes anything.
    fn input(&self, claim: &Claim) -> Input {
        let failure = Failure::new(FailureCode::ProviderError, "it failed there");
        let retry = [Retry::Never, Retry::Counted][self.below(2)];
        let any = [
            Input::Fold(BUDGET),
            Input::TakenOver,
            Input::VerifyExpired,
            Input::Absent(BUDGET),
            Input::Progress(u8::try_from(self.below(101)).unwrap()),
            Input::ProviderDone,
            Input::ProviderFailed(failure.clone(), retry, BUDGET),
            Input::SourceGone(failure),
            Input::Decide(Decision { verdict: Verdict::Resubmit, by: "policy".into() }),
            Input::Canceled(if self.one_in(2) { CancelOutcome::StoppedUpstream } else { CancelOutcome::NotStoppable }),
            Input::DeadlinePassed { stopped: self.one_in(2) },
            Input::Retry("owner".into()),
        ];
        let storing = matches!(claim.record.state, JobState::Storing { .. });
        if storing && !self.one_in(3) {
            return Input::Stored(vec![output(claim)]);
        }
        if claim.record.has_news() || (matches!(claim.record.state, JobState::Queued) && self.one_in(3)) {
            return Input::Fold(BUDGET);
        }
        if claim.record.cancel_pending() && self.one_in(2) { any[9].clone() } else { any[self.below(12)].clone() }
    }

    fn late(&self, claim: &Claim) -> LateInput {
        match self.below(4) {
            0 => LateInput::Ended,
            1 => LateInput::Absent,
            2 => LateInput::LimitPassed,
            _ => LateInput::Stored(vec![output(claim)]),
        }
    }

    async fn step(&mut self) {
        let Some(claim) = self.pick(&self.claims) else { return };
        let watches = claim.work.kind == WorkKind::Watch && !self.one_in(10);
        // The job's picture may be newer than the claim's.
        let Some(fresh) = self.memory.records().into_iter().find(|record| record.job == claim.work.job) else { return };
        let seen = if self.one_in(4) { claim.clone() } else { Claim { record: fresh, ..claim.clone() } };
        if !watches && seen.record.attempt.is_none() && matches!(seen.record.state, JobState::Storing { .. }) {
            return;
        }
        let input = if watches { StepInput::Late(self.late(&seen)) } else { StepInput::Job(self.input(&seen)) };
        let executor =
            self.memory.work().into_iter().find(|(key, _)| *key == claim.work).and_then(|(_, row)| row.owner);
        let executor = if self.one_in(8) { self.executor() } else { executor.unwrap_or(self.executor()) };
        let old = self.one_in(10);
        let commit = StepCommit {
            work: claim.work,
            fence: if old { Fence(claim.fence.0 - 1) } else { claim.fence },
            input,
            exchanges: if self.one_in(4) { vec![self.exchange()] } else { Vec::new() },
            release: if self.one_in(6) { Some(self.given.now() + Duration::from_secs(2)) } else { None },
        };
        let answers = same!(self.step(executor, vec![commit.clone()]));
        for answer in answers {
            if let StepResult::Applied(record) | StepResult::Conflict(record, _) = answer {
                self.learn(&record);
            }
        }
    }

    async fn command(&mut self) {
        let (project, job) = self.job();
        match self.below(5) {
            0 => drop(same!(self.request_cancel(project, job))),
            1 => drop(same!(self.retry(project, job, "me".into()))),
            2 if self.one_in(3) => drop(same!(self.hide(project, job))),
            2 => {
                let Some(claim) = self.pick(&self.claims) else { return };
                let due_at = self.given.now() + Duration::from_secs(1);
                let row = (claim.work, claim.fence, due_at);
                let executor = self.executor();
                same!(self.release(executor, vec![row]));
            }
            _ => {
                let verdict = [Verdict::Resubmit, Verdict::Fail, Verdict::Retried][self.below(3)];
                let name = format!("p-{}", self.below(12));
                let resolution = if self.one_in(2) {
                    Resolution::Decide(verdict)
                } else {
                    Resolution::Adopt(ProviderJobId::new(&name).unwrap())
                };
                drop(same!(self.resolve_held(project, job, resolution.clone(), "ops".into())));
            }
        }
    }

    async fn look(&self) {
        let (project, job) = self.job();
        let (executor, account) = (self.executor(), AccountId(1));
        same!(self.get(project, job));
        same!(self.timeline(project, job));
        same!(self.request(job));
        same!(self.events_after(job, 1, 3));
        same!(self.next_due());
        same!(self.in_flight(account));
        same!(self.claimed(account, vec![ProviderJobId::new("p-1").unwrap(), ProviderJobId::new("p-2").unwrap()]));
        same!(self.find_idempotent(project, "k1"));
        same!(self.durations("fast", 5));
        same!(self.stats());
        let work = vec![WorkKey::drive(job), WorkKey::watch(job, AttemptNo(1))];
        same!(self.claims(executor, work.clone()));
        let key = ArtifactKey::output(project, job, AttemptNo(1), 0, Fence(1));
        same!(self.referenced(vec![key.clone(), ArtifactKey::derived(&key, "thumbnail.webp")]));
        let filter = ListFilter {
            after: if self.one_in(2) { Some(job) } else { None },
            ascending: self.one_in(2),
            limit: self.below(6),
            status: self.pick(&[None, Some(Status::Queued), Some(Status::InProgress), Some(Status::Failed)]).flatten(),
            model: if self.one_in(3) { Some("fast".to_owned()) } else { None },
            metadata: if self.one_in(3) { [("team".to_owned(), "t1".to_owned())].into() } else { BTreeMap::new() },
        };
        same!(self.list(project, filter.clone()));
    }
}

async fn world(seed: u64, folder: &Folder) -> World {
    let clock = Arc::new(HandClock::new());
    let memory = Arc::new(MemoryStore::new(clock.clone()));
    // Nobody cuts the power here, so nobody waits for the disk.
    let tuning = Tuning { synchronous_normal: true, ..Tuning::default() };
    let sqlite = longtake_store::open_with(&folder.url(), options(clock.clone()), tuning).unwrap();
    let mut world = World {
        given: Given::new(memory.clone(), clock),
        memory,
        sqlite,
        dice: Seeded::new(seed),
        executors: Vec::new(),
        projects: Vec::new(),
        jobs: Vec::new(),
        claims: Vec::new(),
        context: format!("seed {seed}"),
    };
    for pid in 1..3 {
        let info = longtake_core::store::ExecutorInfo { host: "h".to_owned(), pid, ttl: Duration::from_secs(3_600) };
        let executor = same!(world.register_executor(info.clone()));
        world.executors.push(executor);
    }
    for name in ["default", "other"] {
        let project = same!(world.project(name));
        world.projects.push(project);
    }
    world
}

async fn run(seed: u64) -> MemoryStore {
    let folder = Folder::new();
    let mut world = world(seed, &folder).await;
    for operation in 0..OPERATIONS {
        world.context = format!("seed {seed}, operation {operation}");
        match world.below(20) {
            0 => world.create().await,
            1..4 => world.acquire().await,
            4..7 => world.open().await,
            7..10 => world.testify().await,
            10..16 => world.step().await,
            16 => world.command().await,
            17 => world.given.clock.advance(Duration::from_millis(u64::try_from(world.below(4_000)).unwrap())),
            _ => world.look().await,
        }
        world.memory.audit().unwrap_or_else(|problem| panic!("{}: {problem}", world.context));
    }
    let jobs = world.jobs.clone();
    for (project, job) in jobs {
        same!(world.timeline(project, job));
    }
    for executor in world.executors.clone() {
        let mut expected = world.memory.owned(executor).await.unwrap();
        let mut owned = world.sqlite.owned(executor).await.unwrap();
        expected.sort_unstable();
        owned.sort_unstable();
        assert_eq!(owned, expected, "{}", world.context);
    }
    world.memory.fork()
}

#[tokio::test]
async fn both_stores_answer_alike() {
    let mut reached = BTreeMap::new();
    for seed in 0..SEEDS {
        let memory = run(seed).await;
        for record in memory.records() {
            *reached.entry(record.state.name()).or_insert(0) += 1;
        }
        for event in memory.events() {
            *reached.entry(event.snapshot.state).or_insert(0) += 1;
        }
    }
    // A generator that reaches little compares little.
    for state in longtake_core::state::StateName::ALL {
        assert!(reached.get(&state).is_some_and(|times| *times >= 5), "{state:?} is hardly reached: {reached:?}");
    }
}
