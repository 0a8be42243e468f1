//! One process's engine: incarnation after incarnation, the batched create, and the way out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longtake_core::store::{CreateResult, EvidenceRecord, ExecutorInfo, NewJob, StoreError};
use longtake_core::webhook::WebhookSender;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::batch::Batcher;
use crate::config::Parts;
use crate::context::{Fallen, StoreTime};
use crate::dispatcher::Dispatcher;
use crate::executor::{Ended, Executor, start_evidence};
use crate::hub::Hub;
use crate::metrics::EngineMetrics;
use crate::retention;

/// Creates under way at once: while one batch waits for its sync, the next is already at the store.
const CREATE_CALLS: usize = 2;
/// Calls that record what providers tell by themselves, at once.
const TESTIMONY_CALLS: usize = 2;
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

/// Records in batches what others than executors learn of attempts: providers that call back.
#[derive(Clone)]
pub struct Testimony(Batcher<EvidenceRecord, ()>);

impl Testimony {
    /// Resolves once the evidence is durable.
    ///
    /// # Errors
    /// As [`Store::record_evidence`](longtake_core::store::Store::record_evidence).
    pub async fn submit(&self, evidence: EvidenceRecord) -> Result<(), StoreError> {
        self.0.submit(evidence).await
    }
}

/// A running engine. Dropped without [`Engine::drain`], it stops dead, as in a crash.
pub struct Engine {
    parts: Parts,
    creates: Creates,
    testimony: Testimony,
    hub: Hub,
    metrics: Arc<EngineMetrics>,
    wake: Arc<Notify>,
    /// Told after each commit with events.
    news: Arc<Notify>,
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
    stopped: watch::Receiver<bool>,
    /// Webhooks are sent until it says so.
    delivered: Mutex<Option<watch::Receiver<bool>>>,
}

impl Engine {
    /// Takes creates in and tells of events; registers an executor and drives work, if it is to.
    ///
    /// # Errors
    /// Where the store cannot register it.
    pub async fn start(parts: Parts) -> Result<Self, StoreError> {
        let hub = Hub::of(&*parts.store);
        let metrics = Arc::new(EngineMetrics::default());
        let (wake, news) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        {
            let (wake, news) = (wake.clone(), news.clone());
            parts.store.on_commit(Arc::new(move |events, woken| {
                if woken {
                    wake.notify_one();
                }
                // Without events it is another process's hint: who creates jobs there need not send webhooks.
                if woken || !events.is_empty() {
                    news.notify_one();
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
        let testimony = Testimony(start_evidence(&mut tasks, TESTIMONY_CALLS, &parts.store));
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
        let (tasks, delivered) = (Mutex::new(tasks), Mutex::new(None));
        Ok(Self { parts, creates, testimony, hub, metrics, wake, news, stop, tasks, stopped, delivered })
    }

    /// Sends webhooks from now on, where this process drives work; once per engine.
    pub fn deliver(&self, sender: Arc<dyn WebhookSender>) {
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.parts.config.drives || delivered.is_some() {
            return;
        }
        let dispatcher = Dispatcher::new(self.parts.clone(), sender, self.metrics.clone());
        let (news, stop) = (self.news.clone(), self.stop.subscribe());
        let (ended, seen) = watch::channel(false);
        *delivered = Some(seen);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            dispatcher.run(news, stop).await;
            ended.send_replace(true);
        });
    }

    /// The batched create.
    pub const fn creates(&self) -> &Creates {
        &self.creates
    }

    /// What providers tell by themselves.
    pub const fn testimony(&self) -> &Testimony {
        &self.testimony
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

    /// A hint that deliveries were made due without an event; without it the next look finds them.
    pub fn deliver_now(&self) {
        self.news.notify_one();
    }

    /// Stops taking work, waits (bounded) for submissions and webhooks under way, gives everything back. Never waits for a render.
    /// Creates and events go on until [`Engine::end`].
    pub async fn drain(&self) {
        self.stop.send_replace(true);
        let mut stopped = self.stopped.clone();
        // An error means that the driving task is gone: then there is nothing left to wait for.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        let delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(mut delivered) = delivered {
            let _ = delivered.wait_for(|delivered| *delivered).await;
        }
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
