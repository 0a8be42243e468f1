//! Opening: connections, the schema, the name of the history, and what runs beside the calls.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longtake_core::time::Clock;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::pool::Pool;
use super::session::{Failure, Session};
use super::{PostgresStore, feed, hint, migrate, partitions, sql};
use crate::{OpenError, OpenOptions, PostgresTuning};

/// How often partitions are made ahead and old notes are forgotten.
const ROUND: Duration = Duration::from_secs(3_600);
/// How long incarnations that were given up are remembered.
const EXECUTORS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// What a round needs prepared.
const HOUSEKEEPING: &[&str] = &[sql::NOW, sql::PARTITIONS, sql::DURATION_TRIM, sql::EXECUTORS_FORGET];

/// What runs beside the calls; ends with the store.
pub(super) struct Tasks {
    running: Vec<JoinHandle<()>>,
    trim: Arc<Notify>,
}

impl Tasks {
    /// Asks for a trim of the durations, soon.
    pub fn trim(&self) {
        self.trim.notify_one();
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.running.iter().for_each(JoinHandle::abort);
    }
}

impl PostgresStore {
    /// Connects and brings the schema up to date.
    ///
    /// # Errors
    /// It cannot be reached, may lose what it commits, or was made by a newer version.
    pub async fn connect(url: &str, options: OpenOptions, tuning: PostgresTuning) -> Result<Self, OpenError> {
        let OpenOptions { clock, random, fatal: _ } = options;
        let pool = Arc::new(Pool::open(url, &tuning).await?);
        migrate::migrate(pool.target(), migrate::MIGRATIONS).await?;
        pool.watch_history().await.map_err(|failure| OpenError::Postgres(format!("{failure:?}")))?;
        let failed = |failure: Failure| OpenError::Postgres(format!("{failure:?}"));
        let injected = injected(&tuning, &clock);
        let lease = pool.lease().await.map_err(failed)?;
        let session = Session::new(lease, &[HOUSEKEEPING, feed::EPOCH].concat()).await.map_err(failed)?;
        let now = injected.as_ref().map(|clock| clock.now().as_micros());
        partitions::ensure(&session, now).await.map_err(failed)?;
        let epoch = feed::epoch(&session, random.as_ref()).await.map_err(failed)?;
        drop(session);
        let listeners = Arc::new(Mutex::new(Vec::new()));
        let trim = Arc::new(Notify::new());
        let mut running = vec![tokio::spawn(housekeeping(Arc::clone(&pool), injected.clone(), Arc::clone(&trim)))];
        running.push(tokio::spawn(later(Arc::clone(&pool))));
        let hints = tuning.hints.then(hint::Hints::default);
        if let Some(hints) = &hints {
            running.push(tokio::spawn(hints.clone().run(Arc::clone(&pool), Arc::clone(&listeners))));
        }
        Ok(Self {
            pool,
            random,
            listeners,
            injected,
            here: Mutex::new(None),
            epoch,
            hints,
            completed: AtomicU64::new(1),
            tasks: Tasks { running, trim },
        })
    }
}

#[cfg(feature = "testing")]
fn injected(tuning: &PostgresTuning, clock: &Arc<dyn Clock>) -> Option<Arc<dyn Clock>> {
    tuning.injected_clock.then(|| Arc::clone(clock))
}

#[cfg(not(feature = "testing"))]
fn injected(_tuning: &PostgresTuning, _clock: &Arc<dyn Clock>) -> Option<Arc<dyn Clock>> {
    None
}

/// What takes long begins when everything is ready; what fails is tried again by the next start.
async fn later(pool: Arc<Pool>) {
    if let Err(error) = migrate::later(pool.target(), migrate::LATER).await {
        tracing::warn!(%error, "a change of the database that takes long failed; the next start repeats it");
    }
}

/// Every hour the days ahead; when asked, or with it, a trim. What fails is tried again by the next round.
async fn housekeeping(pool: Arc<Pool>, clock: Option<Arc<dyn Clock>>, trim: Arc<Notify>) {
    loop {
        #[expect(clippy::disallowed_methods, reason = "what is waited for is a database in the real world")]
        let hour = tokio::time::sleep(ROUND);
        let whole = tokio::select! {
            () = hour => true,
            () = trim.notified() => false,
        };
        if let Err(failure) = round(&pool, clock.as_deref(), whole).await {
            tracing::warn!(?failure, "a round of housekeeping failed; the next one repeats it");
        }
    }
}

async fn round(pool: &Pool, clock: Option<&dyn Clock>, whole: bool) -> Result<(), Failure> {
    let session = Session::new(pool.lease().await?, HOUSEKEEPING).await?;
    partitions::trim_durations(&session).await?;
    if whole {
        let now = clock.map(|clock| clock.now().as_micros());
        partitions::ensure(&session, now).await?;
        partitions::forget_executors(&session, now, EXECUTORS_KEPT).await?;
    }
    Ok(())
}
