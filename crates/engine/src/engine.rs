//! One process's engine: incarnation after incarnation, the batched create, and the way out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longtake_core::store::{CreateResult, ExecutorInfo, NewJob, StoreError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::batch::Batcher;
use crate::config::Parts;
use crate::context::{Fallen, StoreTime};
use crate::executor::{Ended, Executor};
use crate::hub::Hub;
use crate::metrics::EngineMetrics;
use crate::retention;

/// Creates under way at once: while one batch waits for its sync, the next is already at the store.
const CREATE_CALLS: usize = 2;
/// Wait before registering again after a failure.
const REGISTER_AGAIN: Duration = Duration::from_secs(1);

/// Creates jobs in batches: one durable commit for all that queued up meanwhile.
#[derive(Clone)]
pub struct Creates(Batcher<NewJob, CreateResult>);

impl Creates {
    /// Resolves once the job is durable.
    ///
    /// # Errors
    /// As [`Store::create`](longtake_core::store::Store::create).
    pub async fn submit(&self, job: NewJob) -> Result<CreateResult, StoreError> {
        self.0.submit(job).await
    }
}

/// A running engine. Dropped without [`Engine::drain`], it stops dead, as in a crash.
pub struct Engine {
    parts: Parts,
    creates: Creates,
    hub: Hub,
    metrics: Arc<EngineMetrics>,
    wake: Arc<Notify>,
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
    stopped: watch::Receiver<bool>,
}

impl Engine {
    /// Takes creates in and tells of events; registers an executor and drives work, if it is to.
    ///
    /// # Errors
    /// Where the store cannot register it.
    pub async fn start(parts: Parts) -> Result<Self, StoreError> {
        let hub = Hub::of(&*parts.store);
        let metrics = Arc::new(EngineMetrics::default());
        let wake = Arc::new(Notify::new());
        {
            let wake = wake.clone();
            parts.store.on_commit(Arc::new(move |_events, woken| {
                if woken {
                    wake.notify_one();
                }
            }));
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(hub.clone().follow(parts.store.clone(), parts.clock.clone()));
        let store = parts.store.clone();
        let creates = Creates(Batcher::start(
            &mut tasks,
            CREATE_CALLS,
            Box::new(move |jobs| {
                let store = store.clone();
                Box::pin(async move { store.create(jobs).await })
            }),
        ));
        let (stop, stop_seen) = watch::channel(false);
        let (ended, stopped) = watch::channel(false);
        if parts.config.drives {
            let fallen = Fallen::default();
            let first = register(&parts, &metrics, &wake, &fallen).await?;
            tasks.spawn(drive(parts.clone(), first, metrics.clone(), wake.clone(), (stop_seen, ended), fallen));
            tasks.spawn(retention::sweep_forever(parts.clone()));
            if !parts.config.retention.is_forever() {
                tasks.spawn(retention::expire_forever(parts.clone(), metrics.clone()));
            }
        }
        Ok(Self { parts, creates, hub, metrics, wake, stop, tasks: Mutex::new(tasks), stopped })
    }

    /// The batched create.
    pub const fn creates(&self) -> &Creates {
        &self.creates
    }

    /// Who listens to which job.
    pub const fn hub(&self) -> &Hub {
        &self.hub
    }

    /// What was counted.
    pub const fn metrics(&self) -> &Arc<EngineMetrics> {
        &self.metrics
    }

    /// What it was built from: accounts and routes among it.
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// A hint that there is news; without it the next look finds it.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Stops taking work, waits (bounded) for submissions under way, gives everything back. Never waits for a render.
    /// Creates and events go on until [`Engine::end`].
    pub async fn drain(&self) {
        self.stop.send_replace(true);
        let mut stopped = self.stopped.clone();
        // An error means that the driving task is gone: then there is nothing left to wait for.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// Ends what still runs: creates are taken in and events told no more. After [`Engine::drain`], and after the last
    /// request of a client.
    pub fn end(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

async fn register(
    parts: &Parts,
    metrics: &Arc<EngineMetrics>,
    wake: &Arc<Notify>,
    fallen: &Fallen,
) -> Result<Executor, StoreError> {
    let before = parts.clock.monotonic();
    let info = ExecutorInfo { process: parts.process.clone(), ttl: parts.config.ttl };
    let executor = parts.store.register_executor(info).await?;
    let time = Arc::new(StoreTime::default());
    time.learn(&*parts.store, &*parts.clock).await?;
    let start = (before, time);
    Ok(Executor::new(parts.clone(), executor, metrics.clone(), wake.clone(), start, fallen.clone()))
}

/// Incarnation after incarnation, until told to stop.
async fn drive(
    parts: Parts,
    first: Executor,
    metrics: Arc<EngineMetrics>,
    wake: Arc<Notify>,
    (mut stop, ended): (watch::Receiver<bool>, watch::Sender<bool>),
    fallen: Fallen,
) {
    let mut executor = first;
    // Submissions of incarnations that were given up, until they have handed in their evidence.
    let mut last_words: Vec<(JoinSet<()>, JoinSet<()>)> = Vec::new();
    loop {
        let (how, rest) = executor.run(&mut stop).await;
        last_words.extend(rest);
        for (sends, _) in &mut last_words {
            while sends.try_join_next().is_some() {}
        }
        last_words.retain(|(sends, _)| !sends.is_empty());
        if how == Ended::Stopped {
            hear_out(&parts, &mut last_words).await;
            break;
        }
        executor = loop {
            match register(&parts, &metrics, &wake, &fallen).await {
                Ok(executor) => break executor,
                Err(error) => {
                    tracing::warn!(%error, "cannot begin a new incarnation yet");
                    parts.clock.sleep(REGISTER_AGAIN).await;
                }
            }
        };
    }
    ended.send_replace(true);
}

/// A shutdown waits, within its bound, for the submissions of earlier incarnations too.
async fn hear_out(parts: &Parts, last_words: &mut [(JoinSet<()>, JoinSet<()>)]) {
    let late = parts.clock.sleep(parts.config.drain_timeout);
    let all = async {
        for (sends, _) in last_words {
            while sends.join_next().await.is_some() {}
        }
    };
    tokio::select! {
        biased;
        () = all => {}
        () = late => tracing::warn!("some earlier submissions had no answer yet, their outcome is found out at the next start"),
    }
}
