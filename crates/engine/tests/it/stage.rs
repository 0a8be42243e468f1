//! A small world for scripted tests: a client's words, waits that end, and what must hold in the end.

use std::sync::Arc;
use std::time::Duration;

use longtake_core::attempt::AttemptState;
use longtake_core::event::EventKind;
use longtake_core::id::JobId;
use longtake_core::record::Record;
use longtake_core::request::VideoRequest;
use longtake_core::state::StateName;
use longtake_core::store::{CreateResult, NewJob, Store};
use longtake_core::time::Clock;

use crate::sim::SimRandom;
use crate::sim::clients::{self, Acknowledged};
use crate::sim::clock::{pause, secs};
use crate::sim::invariants;
use crate::sim::options::Options;
use crate::sim::world::World;

/// Longest wait for anything, in virtual time.
const LONGEST_WAIT: Duration = secs(24 * 3_600);

pub struct Stage {
    pub world: Arc<World>,
    pub acknowledged: Acknowledged,
    ids: SimRandom,
}

impl Stage {
    /// The world with all its processes running.
    pub async fn begin(options: Options) -> Self {
        let world = World::new(options).await;
        for place in 0..world.options.engines {
            world.start(place).await;
        }
        Self { world, acknowledged: Acknowledged::default(), ids: SimRandom::new(5) }
    }

    pub async fn create(&self, number: usize, priority: i16, deadline: Option<Duration>) -> JobId {
        self.create_at(0, number, priority, deadline).await
    }

    /// As a client of one project, through one process.
    pub async fn create_at(&self, place: usize, number: usize, priority: i16, deadline: Option<Duration>) -> JobId {
        self.accepted(place, number, self.new_job(number, priority, deadline)).await
    }

    /// With a request that is another in some way.
    pub async fn create_changed(&self, number: usize, change: impl FnOnce(&mut VideoRequest)) -> JobId {
        let mut new = self.new_job(number, 0, None);
        change(&mut new.request);
        self.accepted(0, number, new).await
    }

    async fn accepted(&self, place: usize, number: usize, new: NewJob) -> JobId {
        let creates = self.world.creates(place).expect("a process runs");
        match creates.submit(new).await.expect("the store works") {
            CreateResult::Created(job) => {
                self.acknowledged.note(number, job.record.job);
                job.record.job
            }
            other => panic!("not created: {other:?}"),
        }
    }

    /// Again until the store has said what became of it.
    pub async fn create_surely(&self, place: usize, number: usize) -> JobId {
        let new = self.new_job(number, 0, None);
        for _ in 0..100 {
            let creates = self.world.creates(place).expect("a process runs");
            if let Ok(CreateResult::Created(job) | CreateResult::Replayed(job)) = creates.submit(new.clone()).await {
                self.acknowledged.note(number, job.record.job);
                return job.record.job;
            }
        }
        panic!("the store does not say what became of a create");
    }

    /// Straight into the store, while no process runs.
    pub async fn create_through(&self, store: &dyn Store, number: usize) -> JobId {
        let new = self.new_job(number, 0, None);
        let job = new.job;
        store.create(vec![new]).await.expect("the store works");
        self.acknowledged.note(number, job);
        job
    }

    fn new_job(&self, number: usize, priority: i16, deadline: Option<Duration>) -> NewJob {
        NewJob {
            job: JobId::new(self.world.clock.now(), &self.ids),
            project: self.world.project_of(number),
            request: VideoRequest { priority, ..clients::request(number) },
            pool: self.world.pools[0],
            deadline,
            idempotency: None,
        }
    }

    pub fn record(&self, job: JobId) -> Record {
        self.world.database.rows.records().into_iter().find(|record| record.job == job).expect("a job that was created")
    }

    pub fn state(&self, job: JobId) -> StateName {
        self.record(job).state.name()
    }

    pub async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let mut waited = Duration::ZERO;
        while !holds() {
            assert!(waited < LONGEST_WAIT, "{what} did not come\n{}", self.world.trace.tail().join("\n"));
            pause(Duration::from_millis(50)).await;
            waited += Duration::from_millis(50);
        }
    }

    pub async fn until_state(&self, job: JobId, state: StateName) {
        self.until(state.word(), || self.state(job) == state).await;
    }

    pub async fn cancel(&self, job: JobId) {
        self.world.front_door().request_cancel(self.record(job).project, job).await.expect("the store works");
    }

    /// Waits until nothing is left to do, and checks everything.
    pub async fn end(self) -> Arc<World> {
        self.until("rest", || invariants::unrest(&self.world).is_none()).await;
        invariants::at_rest(&self.world, &self.acknowledged).await;
        let (violations, tail) = (self.world.trace.violations(), self.world.trace.tail());
        assert!(violations.is_empty(), "{violations:#?}\n{}", tail.join("\n"));
        self.world.end();
        self.world
    }
}

/// The kinds of a job's events, in order, without progress.
pub fn told(world: &World, job: JobId) -> Vec<EventKind> {
    let events = world.database.rows.events().into_iter().filter(|event| event.job == job);
    events.map(|event| event.kind).filter(|kind| *kind != EventKind::Progress).collect()
}

/// The states of a job's attempts, in order.
pub fn attempts(world: &World, job: JobId) -> Vec<AttemptState> {
    let attempts = world.database.rows.attempts().into_iter().filter(|(of, _)| *of == job);
    attempts.map(|(_, attempt)| attempt.state).collect()
}
