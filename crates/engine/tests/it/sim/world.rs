//! The world: processes that start, die and are stopped; the store, the provider and the bucket that outlive them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longtake_core::id::{AccountId, ExecutorId, PoolId, ProjectId};
use longtake_core::limits::Limits;
use longtake_core::memory_store::MemoryStore;
use longtake_core::route::Route;
use longtake_core::store::{CommitListener, ProcessInfo, Store};
use longtake_engine::{AccountEntry, Creates, Engine, EngineConfig, EngineMetrics, Parts};

use super::SimRandom;
use super::artifacts::{Bucket, BucketHandle, SimProbe};
use super::callbacks;
use super::clock::{Gate, SimClock, secs};
use super::faults::{Fault, Faults};
use super::options::{Class, Options};
use super::provider::Line;
use super::store::{Database, StoreHandle};
use super::trace::Trace;
use super::vendor::Vendor;
use super::webhooks::{Receivers, SimSender};

/// The public model of all jobs here.
pub const MODEL: &str = "sim-1";
/// Of every process.
pub const SECRET_KEY: [u8; 32] = [7; 32];
/// The provider's name for it.
const UPSTREAM_MODEL: &str = "upstream-1";

/// One process: an engine behind a gate.
pub struct Process {
    pub gate: Gate,
    pub clock: SimClock,
    pub engine: Option<Arc<Engine>>,
    /// It was told to stop.
    pub stopping: bool,
    pub executors: Arc<Mutex<Vec<ExecutorId>>>,
    pub listeners: Arc<Mutex<Vec<CommitListener>>>,
}

pub struct World {
    pub options: Options,
    pub trace: Trace,
    pub faults: Arc<Faults>,
    pub clock: SimClock,
    pub vendor: Arc<Vendor>,
    pub database: Arc<Database>,
    pub bucket: Arc<Bucket>,
    pub receivers: Arc<Receivers>,
    pub accounts: Vec<AccountId>,
    /// The one model of each account.
    pub pools: Vec<PoolId>,
    /// Of clients that are not told apart.
    pub project: ProjectId,
    pub projects: Vec<ProjectId>,
    pub config: EngineConfig,
    processes: Mutex<Vec<Option<Process>>>,
    /// Incarnations whose death is not known yet.
    undertaker: Mutex<Vec<ExecutorId>>,
    starts: SimRandom,
}

impl World {
    pub async fn new(options: Options) -> Arc<Self> {
        let (trace, clock) = (Trace::new(), SimClock::new());
        let faults = Arc::new(Faults::new(options.seed, options.faults));
        let (calls, called) = tokio::sync::mpsc::unbounded_channel();
        let vendor = Arc::new(Vendor::new(&options, faults.clone(), trace.clone(), clock.clone(), calls));
        let rows = MemoryStore::new(Arc::new(clock.clone()));
        let names = (0..options.accounts).map(|n| (format!("account-{n}"), "simulated".to_owned())).collect();
        let accounts = rows.register_accounts(names).await.expect("the rows do not fail");
        let named = accounts.iter().map(|account| (*account, UPSTREAM_MODEL.into())).collect();
        let pools = rows.register_pools(named).await.expect("the rows do not fail");
        let mut projects = vec![rows.project("default").await.expect("the rows do not fail")];
        for number in 1..options.projects {
            projects.push(rows.project(&format!("project-{number}")).await.expect("the rows do not fail"));
        }
        let database = Arc::new(Database::new(rows, faults.clone(), trace.clone(), vendor.clone(), options.seed));
        let bucket = Arc::new(Bucket::new(faults.clone(), trace.clone(), clock.clone()));
        let mut config = EngineConfig {
            look_interval: secs(10),
            ttl: secs(30),
            beat: secs(6),
            margin: secs(5),
            max_inflight_sends: 4,
            acquire_batch: 5,
            on_unknown: options.on_unknown,
            unavailable_limit: secs(1_800),
            held_lookup_interval: secs(120),
            sweep_interval: secs(900),
            sweep_age: secs(3_600),
            ..EngineConfig::default()
        };
        if options.class == Class::Callback {
            (config.callback_base, config.news_interval) = (Some(callbacks::BASE.into()), Some(secs(2)));
        }
        (options.tune)(&mut config);
        let world = Arc::new(Self {
            processes: Mutex::new((0..options.engines).map(|_| None).collect()),
            starts: SimRandom::stream(options.seed, 99),
            undertaker: Mutex::default(),
            receivers: Receivers::new(clock.clone()),
            options,
            trace,
            faults,
            clock,
            vendor,
            database,
            bucket,
            accounts,
            pools,
            project: projects[0],
            projects,
            config,
        });
        tokio::spawn(callbacks::receive(Arc::downgrade(&world), called));
        world
    }

    /// The project of one client.
    pub fn project_of(&self, number: usize) -> ProjectId {
        self.projects[number % self.projects.len()]
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Option<Process>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a process in this place; tries until the store lets it register.
    pub async fn start(&self, place: usize) {
        let gate = Gate::open();
        let skew = match self.faults.strikes(Fault::ClockSkew) {
            true => i64::try_from(self.faults.below(Fault::ClockSkew, 7_200)).unwrap_or(0) - 3_600,
            false => 0,
        };
        let clock = self.clock.of_process(&gate, skew * 1_000_000);
        let (executors, listeners) = (Arc::default(), Arc::default());
        let process = Process { clock, gate, engine: None, stopping: false, executors, listeners };
        let parts = self.parts(place, &process);
        self.trace.log(format_args!("e{place} starts, its clock is {skew} s off"));
        self.listen(&process);
        let (listeners, process_gate) = (process.listeners.clone(), process.gate.clone());
        self.processes()[place] = Some(process);
        loop {
            match Engine::start(parts.clone()).await {
                Ok(engine) => {
                    if self.options.webhooks {
                        let (receivers, gate) = (self.receivers.clone(), process_gate.clone());
                        engine.deliver(Arc::new(SimSender { receivers, gate }));
                    }
                    if let Some(process) = &mut self.processes()[place] {
                        process.engine = Some(Arc::new(engine));
                    }
                    return;
                }
                Err(_) => {
                    listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    super::clock::pause(secs(2)).await;
                }
            }
        }
    }

    /// Commits are told to a process while it lives; hints may get lost.
    fn listen(&self, process: &Process) {
        let (listeners, faults) = (Arc::downgrade(&process.listeners), self.faults.clone());
        self.database.rows.on_commit(Arc::new(move |events, woken| {
            let Some(listeners) = listeners.upgrade() else { return };
            if faults.strikes(Fault::LostHints) {
                return;
            }
            let listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
            listeners.iter().for_each(|listener| listener(events, woken));
        }));
    }

    fn parts(&self, place: usize, process: &Process) -> Parts {
        let line: Arc<Line> =
            Arc::new(Line { vendor: self.vendor.clone(), gate: process.gate.clone(), process: place });
        let entry = |account: &AccountId| AccountEntry {
            name: format!("account-{account}"),
            provider: line.clone(),
            limits: Limits { max_in_flight: self.options.max_in_flight, per_minute: self.options.per_minute },
            drives: true,
        };
        let route = |(account, pool): (&AccountId, &PoolId)| Route {
            account: *account,
            model: UPSTREAM_MODEL.into(),
            pool: *pool,
            limits: Limits::NONE,
        };
        Parts {
            store: Arc::new(StoreHandle {
                database: self.database.clone(),
                gate: process.gate.clone(),
                process: place,
                executors: process.executors.clone(),
                listeners: process.listeners.clone(),
            }),
            artifacts: Arc::new(BucketHandle { bucket: self.bucket.clone(), gate: process.gate.clone() }),
            probe: Arc::new(SimProbe),
            clock: Arc::new(process.clock.clone()),
            random: Arc::new(SimRandom::new(longtake_core::id::Random::u64(&self.starts))),
            accounts: self.accounts.iter().map(|account| (*account, entry(account))).collect(),
            routes: BTreeMap::from([(MODEL.to_owned(), self.accounts.iter().zip(&self.pools).map(route).collect())]),
            secret_key: SECRET_KEY,
            process: ProcessInfo { host: format!("host-{place}"), ..ProcessInfo::default() },
            config: self.config.clone(),
        }
    }

    /// `kill -9`: no call of it ends any more. What it sent is on its way all the same.
    pub fn crash(&self, place: usize) {
        let Some(process) = self.processes()[place].take() else { return };
        self.trace.log(format_args!("e{place} CRASH"));
        process.gate.kill();
        drop(process.engine);
        self.bury(&process.executors);
    }

    /// SIGTERM: hands over, then ends.
    pub async fn drain(&self, place: usize) {
        let engine = self.processes()[place].as_mut().and_then(|process| {
            process.stopping = true;
            process.engine.clone()
        });
        let Some(engine) = engine else { return };
        self.trace.log(format_args!("e{place} is told to stop"));
        let limit = self.config.drain_timeout * 4;
        // A process that is stopped as it drains, or whose store is away, is killed in the end.
        let drained = tokio::select! {
            biased;
            () = engine.drain() => true,
            () = super::clock::pause(limit) => false,
        };
        self.trace.log(format_args!("e{place} ends, drained: {drained}"));
        if let Some(process) = self.processes()[place].take() {
            process.gate.kill();
            self.bury(&process.executors);
        }
    }

    /// A dead process is known as dead to its own host at once; to others only when somebody says so.
    fn bury(&self, executors: &Mutex<Vec<ExecutorId>>) {
        let executors = executors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.faults.strikes(Fault::HostLost) {
            self.undertaker.lock().unwrap_or_else(PoisonError::into_inner).extend(executors);
        } else {
            executors.into_iter().for_each(|executor| self.database.rows.mark_process_dead(executor));
        }
    }

    /// The operator's word on every host that was lost.
    pub fn bury_all(&self) {
        let mut lost = self.undertaker.lock().unwrap_or_else(PoisonError::into_inner);
        lost.drain(..).for_each(|executor| self.database.rows.mark_process_dead(executor));
    }

    /// And goes on doing so.
    pub fn is_running(&self, place: usize) -> bool {
        self.processes()[place].as_ref().is_some_and(|process| process.engine.is_some() && !process.stopping)
    }

    /// The gate and clock of a process that runs.
    pub fn process(&self, place: usize) -> Option<(Gate, SimClock)> {
        self.processes()[place].as_ref().map(|process| (process.gate.clone(), process.clock.clone()))
    }

    /// The creates of the first running process from `place` on.
    pub fn creates(&self, place: usize) -> Option<Creates> {
        let processes = self.processes();
        let order = (0..processes.len()).map(|n| (place + n) % processes.len());
        let mut engines = order.filter_map(|place| processes[place].as_ref()?.engine.as_ref());
        engines.next().map(|engine| engine.creates().clone())
    }

    /// What the process in this place counted.
    pub fn metrics(&self, place: usize) -> Option<Arc<EngineMetrics>> {
        Some(self.processes()[place].as_ref()?.engine.as_ref()?.metrics().clone())
    }

    /// Every process stops dead.
    pub fn end(&self) {
        for place in 0..self.options.engines {
            self.crash(place);
        }
    }

    /// A client's own way to the store: through some front door that does not crash, with the same faults.
    pub fn front_door(&self) -> StoreHandle {
        StoreHandle {
            database: self.database.clone(),
            gate: Gate::open(),
            process: 99,
            executors: Arc::default(),
            listeners: Arc::default(),
        }
    }
}
