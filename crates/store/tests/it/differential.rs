//! L1: the same random operations on every store, under one clock, give the same answers as the one in memory.
//!
//! Left out: what they are meant to do differently (reap, shares, senders that are dead, cursors, order of `owned`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longtake_core::apply::{Input, LateInput};
use longtake_core::artifact::ArtifactKey;
use longtake_core::attempt::{Decision, Evidence, Retry, Sender, Verdict};
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{
    AccountId, AttemptNo, ExecutorId, Fence, JobId, Nonce, PoolId, ProjectId, ProviderJobId, Random,
};
use longtake_core::limits::{AttemptLimits, Limits};
use longtake_core::memory_store::MemoryStore;
use longtake_core::provider::Exchange;
use longtake_core::record::{CancelOutcome, Record};
use longtake_core::retention::{Expired, Keep, Retention};
use longtake_core::state::{JobState, StateName, Status};
use longtake_core::store::{
    Claim, EvidenceRecord, ExecutorInfo, IdempotencyKey, ListFilter, NewJob, OpenAttempt, OpenResult, Place, Release,
    Resolution, StepCommit, StepInput, StepResult, Store, StoreStats, Wake, Wanted, WantedAccount, WorkKey, WorkKind,
};
use longtake_core::time::Timestamp;
use longtake_store::{PostgresTuning, Tuning};
use longtake_testing::postgres::TestDatabase;

use crate::given::{BUDGET, Folder, Given, HandClock, Seeded, accepted, evidence_of, info, options, output, rejected};

const SEEDS: u64 = 12;
const OPERATIONS: usize = 700;
/// Old claims are kept to be used again, stale as they are.
const MAX_CLAIMS: usize = 24;

struct World {
    memory: Arc<MemoryStore>,
    others: Vec<(&'static str, Arc<dyn Store>)>,
    /// Makes jobs and intents.
    given: Given,
    dice: Seeded,
    executors: Vec<ExecutorId>,
    projects: Vec<ProjectId>,
    jobs: Vec<(ProjectId, JobId)>,
    pools: Vec<PoolId>,
    claims: Vec<Claim>,
    /// What became of intents, and what retention removed.
    counted: BTreeMap<&'static str, usize>,
    /// The state after each event, those that were removed among them.
    told: BTreeMap<(JobId, u32), StateName>,
    hooks: webhooks::Hooks,
    context: String,
}

/// The stores that are compared with the one in memory.
async fn others(folder: &Folder, url: &str, clock: &Arc<HandClock>) -> Vec<(&'static str, Arc<dyn Store>)> {
    // Nobody cuts the power here, so nobody waits for the disk.
    let tuning = Tuning { synchronous_normal: true, ..Tuning::default() };
    let sqlite = longtake_store::open_with(&folder.url(), options(clock.clone()), tuning).unwrap();
    let tuning = PostgresTuning { injected_clock: true, connections: 4, ..PostgresTuning::default() };
    let postgres = longtake_store::connect(url, options(clock.clone()), tuning).await.unwrap();
    // Numbers of executors are drawn by lot there; here they are to be alike.
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let counted = "create sequence executor_seq; alter table executor alter id set default nextval('executor_seq')";
    client.batch_execute(counted).await.unwrap();
    vec![("sqlite", sqlite), ("postgres", postgres)]
}

/// Asks every store and compares; the arguments are made anew for each.
macro_rules! same {
    ($world:ident.$call:ident($($argument:expr),*)) => {{
        let expected = $world.memory.$call($($argument),*).await.unwrap();
        for (name, store) in &$world.others {
            let answered = store.$call($($argument),*).await;
            let answered = answered.unwrap_or_else(|error| panic!("{}, {name}: {error}", $world.context));
            assert_eq!(answered, expected, "{}: {} of {name}", $world.context, stringify!($call));
        }
        expected
    }};
}

// Behind the macro that it uses.
mod webhooks;

impl World {
    fn count(&mut self, name: &'static str, times: usize) {
        *self.counted.entry(name).or_default() += times;
    }

    fn note_states(&mut self) {
        let events = self.memory.events().into_iter();
        self.told.extend(events.map(|event| ((event.job, event.ver), event.snapshot.state)));
    }

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

    fn pool(&self) -> PoolId {
        if self.one_in(4) { PoolId::NONE } else { self.pools[self.below(self.pools.len())] }
    }

    fn place(&self) -> Place {
        Place { pool: self.pool(), queued: self.one_in(2) }
    }

    fn limits(&self) -> Limits {
        Limits {
            max_in_flight: self.pick(&[None, None, Some(0), Some(1), Some(3), Some(9)]).flatten(),
            per_minute: self.pick(&[None, None, None, Some(20), Some(120)]).flatten(),
        }
    }

    /// The pools are those of accounts 1 and 2 in turn.
    fn wanted(&self) -> Wanted {
        let account = |n: i32| {
            let own = self.pools.iter().zip([1, 2].into_iter().cycle()).filter(|(_, of)| *of == n);
            let listed = own.filter(|_| !self.one_in(4)).map(|(pool, _)| (*pool, self.limits())).collect();
            WantedAccount {
                account: AccountId(n),
                limits: self.limits(),
                pools: listed,
                takes_queued: !self.one_in(5),
                overdue: Duration::from_secs(if self.one_in(3) { 1 } else { 0 }),
            }
        };
        let mut accounts = vec![account(1), account(2)];
        if self.one_in(2) {
            accounts.swap(0, 1);
        }
        accounts.truncate(if self.one_in(5) { 1 } else { 2 });
        Wanted { due: self.below(4), queued: self.below(4), accounts }
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
        new.request.priority = i16::try_from(self.below(3)).unwrap();
        new.pool = self.pool();
        new.request.webhook = self.hooks.video();
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
        let (executor, limit, wanted) = (self.executor(), self.below(4), self.wanted());
        let claims = same!(self.acquire(executor, &wanted));
        self.keep(claims);
        let woken = same!(self.woken(executor, limit));
        self.keep(woken);
    }

    async fn open(&mut self) {
        let Some(claim) = self.pick(&self.claims) else { return };
        let executor = self.executor();
        let mut open = self.given.intent(executor, &claim);
        open.attempt.account = AccountId(i32::try_from(self.below(2)).unwrap() + 1);
        open.attempt.model = ["fast-model", "slow-model"][self.below(2)].into();
        open.limits = AttemptLimits { pool: self.pool(), account: self.limits(), model: self.limits() };
        let limits = AttemptLimits { account: self.limits(), ..open.limits };
        let again = OpenAttempt { limits, ..open.clone() };
        let mut all = vec![open, again];
        if let Some(claim) = self.pick(&self.claims) {
            all.push(OpenAttempt { limits: all[0].limits, ..self.given.intent(executor, &claim) });
        }
        for answer in same!(self.open_attempts(executor, all.clone())) {
            let name = match &answer {
                OpenResult::Opened(_) => "opened",
                OpenResult::Stale => "stale",
                OpenResult::Conflict(_) => "conflict",
                OpenResult::Doubted(_) => "doubted",
                OpenResult::AccountFull => "full",
                OpenResult::Paced(_) => "paced",
            };
            self.count(name, 1);
            if let OpenResult::Opened(record) | OpenResult::Conflict(record) | OpenResult::Doubted(record) = answer {
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
            call: ["submit", "find", "poll", "fetch", "cancel", "callback"][self.below(6)],
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
        item.wake = [Wake::Others, Wake::Owner, Wake::OwnerAlways][self.below(3)];
        item.nonce = self.pick(&[None, Some(Nonce(1_007)), Some(Nonce(5))]).flatten();
        item.exchanges = if self.one_in(2) { vec![self.exchange()] } else { Vec::new() };
        let nonce = Nonce(i64::from(n.0) * 1_000 + 7); // of every intent here
        let sender = Sender { executor: self.executors[usize::from(item.wake == Wake::Others)], nonce };
        item.ended = item.exchanges.is_empty().then_some(sender);
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
            Input::OverLimit,
        ];
        if matches!(claim.record.state, JobState::Running { .. }) && self.one_in(3) {
            return Input::ProviderDone;
        }
        let storing = matches!(claim.record.state, JobState::Storing { .. });
        if storing && !self.one_in(3) {
            return Input::Stored(vec![output(claim)]);
        }
        if claim.record.has_news() || (matches!(claim.record.state, JobState::Queued) && self.one_in(3)) {
            return Input::Fold(BUDGET);
        }
        if claim.record.cancel_pending() && self.one_in(2) { any[9].clone() } else { any[self.below(13)].clone() }
    }

    fn late(&self, claim: &Claim) -> LateInput {
        let gone = Failure::new(FailureCode::ArtifactUnavailable, "its bytes are gone");
        match self.below(5) {
            0 => LateInput::Ended,
            3 => LateInput::SourceGone(gone),
            1 => LateInput::Absent,
            2 => LateInput::LimitPassed,
            _ => LateInput::Stored(vec![output(claim)]),
        }
    }

    fn due_at(&self) -> Timestamp {
        if self.one_in(3) { Timestamp::NEVER } else { self.given.now() + Duration::from_secs(1) }
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
            release: self.one_in(6).then(|| (self.due_at(), self.place())),
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
            1 => {
                let pool = self.pool();
                drop(same!(self.retry(project, job, "me".into(), pool)));
            }
            2 if self.one_in(3) => drop(same!(self.hide(project, job))),
            2 => {
                let Some(claim) = self.pick(&self.claims) else { return };
                let (due_at, place) = (self.due_at(), self.place());
                let row = Release { work: claim.work, fence: claim.fence, due_at, place };
                let executor = self.executor();
                same!(self.release(executor, vec![row]));
                same!(self.beat(executor, Vec::new()));
            }
            3 if self.one_in(12) => drop(same!(self.set_quarantine())),
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

    /// A rule for seconds, or none.
    fn kept(&self) -> Option<Duration> {
        (!self.one_in(3)).then(|| Duration::from_secs(u64::try_from(self.below(60)).unwrap()))
    }

    /// The second project keeps its events, so that no store removes days of them as a whole, which none counts.
    async fn expire(&mut self) {
        if self.one_in(2) {
            self.given.clock.advance(Retention::ROUND);
        }
        let default = Keep { jobs: self.kept(), events: self.kept(), artifacts: self.kept() };
        let other = Keep { jobs: self.kept(), events: None, artifacts: self.kept() };
        let policy = Retention { default, projects: BTreeMap::from([(self.projects[1], other)]) };
        let limit = 1 + self.below(12);
        self.note_states();
        let sorted = |mut expired: Expired| {
            expired.artifacts.sort_unstable();
            expired
        };
        let expected = sorted(self.memory.expire(&policy, limit).await.unwrap());
        for (name, store) in &self.others {
            let answered = store.expire(&policy, limit).await;
            let answered = sorted(answered.unwrap_or_else(|error| panic!("{}, {name}: {error}", self.context)));
            assert_eq!(answered, expected, "{}: expire of {name}", self.context);
        }
        self.count("jobs", usize::try_from(expected.jobs).unwrap());
        self.count("events", usize::try_from(expected.events).unwrap());
        self.count("artifacts", expected.artifacts.len());
        self.count("more", usize::from(expected.more));
        self.count("endpoints", usize::try_from(expected.endpoints).unwrap());
    }

    /// How long the feed has been kept waiting, and for which connections, is a matter of the database and of its users.
    async fn stats(&self) {
        let expected = self.memory.stats().await.unwrap();
        for (name, store) in &self.others {
            let answered = store.stats().await.unwrap();
            let answered =
                StoreStats { horizon_age: expected.horizon_age, connections: expected.connections, ..answered };
            assert_eq!(answered, expected, "{}: stats of {name}", self.context);
        }
    }

    async fn look(&self) {
        let (project, job) = self.job();
        let (executor, account) = (self.executor(), AccountId(1));
        same!(self.get(project, job));
        same!(self.timeline(project, job));
        same!(self.request(job));
        same!(self.events_after(job, 1, 3));
        same!(self.executors(5));
        same!(self.confirm_dead(executor));
        same!(self.sender_is_dead(executor));
        same!(self.quarantine());
        same!(self.in_flight(account));
        let since = Timestamp::from_micros(self.given.now().as_micros() - 3_000_000);
        same!(self.in_doubt(account, since));
        same!(self.claimed(account, vec![ProviderJobId::new("p-1").unwrap(), ProviderJobId::new("p-2").unwrap()]));
        same!(self.find_idempotent(project, "k1"));
        same!(self.durations("fast", 5));
        self.stats().await;
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

async fn world(seed: u64, folder: &Folder, url: &str) -> World {
    let clock = Arc::new(HandClock::new());
    let memory = Arc::new(MemoryStore::new(clock.clone()));
    let mut world = World {
        others: others(folder, url, &clock).await,
        given: Given::new(memory.clone(), clock),
        memory,
        dice: Seeded::new(seed),
        executors: Vec::new(),
        projects: Vec::new(),
        jobs: Vec::new(),
        pools: Vec::new(),
        claims: Vec::new(),
        counted: BTreeMap::new(),
        told: BTreeMap::new(),
        hooks: webhooks::Hooks::new(seed),
        context: format!("seed {seed}"),
    };
    for _ in 1..3 {
        let info = ExecutorInfo { ttl: Duration::from_secs(1_000_000), ..info() };
        let executor = same!(world.register_executor(info.clone()));
        world.executors.push(executor);
    }
    for name in ["default", "other"] {
        let project = same!(world.project(name));
        world.projects.push(project);
    }
    let named = |name: &str| (name.to_owned(), "x".to_owned());
    let accounts = same!(world.register_accounts(vec![named("one"), named("two")]));
    let models = ["fast-model", "slow-model"].into_iter();
    let pools: Vec<(AccountId, Arc<str>)> =
        models.flat_map(|model| accounts.iter().map(move |account| (*account, model.into()))).collect();
    world.pools = same!(world.register_pools(pools.clone()));
    world
}

async fn run(seed: u64) -> World {
    let folder = Folder::new();
    let database = TestDatabase::create();
    let mut world = world(seed, &folder, &database.url()).await;
    for operation in 0..OPERATIONS {
        world.context = format!("seed {seed}, operation {operation}");
        match world.below(20) {
            0 => world.create().await,
            1..4 => world.acquire().await,
            4..7 => world.open().await,
            7..10 => world.testify().await,
            10..16 => world.step().await,
            16 => world.command().await,
            17 if world.one_in(3) => world.expire().await,
            17 => world.given.clock.advance(Duration::from_millis(u64::try_from(world.below(4_000)).unwrap())),
            _ => world.look().await,
        }
        world.webhooks().await;
        world.memory.audit().unwrap_or_else(|problem| panic!("{}: {problem}", world.context));
    }
    let jobs = world.jobs.clone();
    for (project, job) in jobs {
        same!(world.timeline(project, job));
    }
    for executor in world.executors.clone() {
        let mut expected = world.memory.owned(executor).await.unwrap();
        expected.sort_unstable();
        for (name, store) in &world.others {
            let mut owned = store.owned(executor).await.unwrap();
            owned.sort_unstable();
            assert_eq!(owned, expected, "{}, {name}", world.context);
        }
    }
    world.note_states();
    world
}

#[tokio::test]
async fn every_store_answers_alike() {
    let (mut reached, mut counted, mut ended) = (BTreeMap::new(), BTreeMap::new(), 0);
    for seed in 0..SEEDS {
        let World { memory, counted: of_seed, told, .. } = run(seed).await;
        for (name, times) in of_seed {
            *counted.entry(name).or_insert(0) += times;
        }
        for record in memory.records() {
            *reached.entry(record.state.name()).or_insert(0) += 1;
        }
        ended += memory.attempts().iter().filter(|(_, attempt)| attempt.request_ended_at.is_some()).count();
        for state in told.into_values() {
            *reached.entry(state).or_insert(0) += 1;
        }
    }
    // A generator that reaches little compares little.
    for state in StateName::ALL {
        assert!(reached.get(&state).is_some_and(|times| *times >= 5), "{state:?} is hardly reached: {reached:?}");
    }
    assert!(ended >= 5, "hardly any request ended by its sender's word: {ended}");
    // Few jobs complete, so few outputs expire; and most jobs are kept by a doubt of their account.
    for name in ["artifacts", "jobs", "endpoints"] {
        assert!(counted.get(name).is_some_and(|times| *times >= 2), "{name} hardly expire: {counted:?}");
    }
    let webhooks = ["taken", "lost events", "tried", "pending", "delivered", "exhausted", "disabled", "replayed"];
    let of_jobs = ["of jobs", "redelivered of jobs"];
    let jobs = ["opened", "stale", "conflict", "doubted", "full", "paced", "events", "more"];
    for name in jobs.into_iter().chain(webhooks).chain(of_jobs) {
        assert!(counted.get(name).is_some_and(|times| *times >= 5), "{name} is hardly reached: {counted:?}");
    }
}
