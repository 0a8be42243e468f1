//! Builds the running system: the only place that names concrete stores and providers.
//!
//! Lock on the data directory, keys, store, artifacts, accounts, engine, app, HTTP: in this order, so that a second
//! process is turned away before it opens anything. [`Running::stop`] goes back the same way.
//! Absent: choices; every one of them is in the config.

mod accounts;
mod keys;
mod process;
mod retention;
mod storage;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use longtake_core::artifact::{ArtifactStore, Digest};
use longtake_core::id::Random;
use longtake_core::route::Route;
use longtake_core::store::Store;
use longtake_core::time::Clock;
use longtake_engine::{Engine, EngineConfig, Parts};
use longtake_store::artifacts::bucket::BucketArtifacts;
use longtake_store::lock::{DataDirLock, LockError};
use longtake_store::{OpenOptions, PostgresTuning, Tuning};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{App, AppParts, Memory, Models};
use crate::clock::{OsRandom, SystemClock};
use crate::config::{Config, ConfigError, Database, Failover, Role};
use crate::http::auth::key_hash;
use crate::http::inputs::InputFetcher;
use crate::http::metrics::HttpMetrics;
use crate::http::router::{router, worker_router};
use crate::http::serve::serve;
use crate::probe::Mp4Probe;
use crate::webhooks::{Sender, WebhookClient};

pub use accounts::{Secrets, Wired, secrets, wire};
pub use keys::{ADMIN_KEY_FILE, SECRET_KEY_FILE, admin_key, secret_key};
pub use retention::{STRANGE, WiredRetention, retention};
pub use storage::claim;

/// The system cannot start, in one line with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process works on the data directory; this is what it says of itself.
    #[error("{}", held(data_dir, holder))]
    Held {
        /// The directory.
        data_dir: String,
        /// Who holds it.
        holder: Holder,
    },
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

fn held(data_dir: &str, holder: &Holder) -> String {
    let pid = holder.pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    let address = holder.address.map_or_else(String::new, |address| format!(", which listens on http://{address}"));
    format!("the data directory {data_dir} is in use by {pid}{address}; stop it, or choose another with --data-dir")
}

/// What the holder of a lock says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Holder {
    /// Its process number.
    pub pid: Option<u32>,
    /// Where it listens, once it does.
    pub address: Option<SocketAddr>,
}

impl Holder {
    fn note(address: Option<SocketAddr>) -> String {
        let holder = Self { pid: Some(std::process::id()), address };
        serde_json::to_string(&holder).unwrap_or_default()
    }
}

/// The exclusive right to work on a data directory.
pub struct Locked {
    /// None with PostgreSQL, where many processes share what there is.
    lock: Option<DataDirLock>,
}

impl Locked {
    /// Tells whoever finds the directory locked where we listen.
    fn note(&self, config: &Config, address: SocketAddr) -> Result<(), StartError> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let written = lock.write_note(&Holder::note(Some(address)));
        written.map_err(|error| StartError::Other(format!("{}: {error}", config.general.data_dir.display())))
    }
}

/// Makes the data directory and takes the right to work on it.
///
/// # Errors
/// `Held` where another process has it; else why it cannot be used.
pub fn lock(config: &Config) -> Result<Locked, StartError> {
    let data_dir = &config.general.data_dir;
    let unusable = |problem: String| {
        let problem = format!("{} cannot be used: {problem}; choose another or change its owner", data_dir.display());
        StartError::Config(config.error(&["data_dir"], &problem))
    };
    make_folder(data_dir).map_err(|error| unusable(error.to_string()))?;
    if matches!(config.database()?, Database::Postgres(_)) {
        return Ok(Locked { lock: None });
    }
    match DataDirLock::acquire(data_dir, &Holder::note(None)) {
        Ok(lock) => Ok(Locked { lock: Some(lock) }),
        Err(LockError::Held { note }) => {
            let holder = serde_json::from_str(&note).unwrap_or_default();
            Err(StartError::Held { data_dir: data_dir.display().to_string(), holder })
        }
        Err(LockError::Io(error)) => Err(unusable(error.to_string())),
        Err(error) => Err(StartError::Config(config.error(&["data_dir"], &error.to_string()))),
    }
}

/// Makes a folder that only its owner can read, with those above it.
fn make_folder(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// What is opened, without anything that runs.
pub struct Opened {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Bytes.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// The same, where they are in a bucket.
    pub bucket: Option<BucketArtifacts>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}

/// Opens the database, migrating it where it is older, and the artifact store.
///
/// # Errors
/// In one line.
pub async fn open(config: &Config, _locked: &Locked) -> Result<Opened, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let database = config.database()?;
    let options = OpenOptions {
        clock: Arc::clone(&clock),
        random: Arc::clone(&random),
        fatal: Arc::new(|reason: &str| fail_stop(reason)),
    };
    let store = match &database {
        Database::Sqlite(path) => open_sqlite(config, path, options).await?,
        Database::Postgres(url) => {
            let connected = longtake_store::connect(url.expose_secret(), options, postgres_tuning(config)).await;
            connected.map_err(|error| StartError::Other(format!("{}: {error}", database.shown())))?
        }
    };
    let (artifacts, bucket) = storage::open(config)?;
    Ok(Opened { store, artifacts, bucket, clock, random })
}

async fn open_sqlite(config: &Config, path: &Path, options: OpenOptions) -> Result<Arc<dyn Store>, StartError> {
    if let Some(folder) = path.parent() {
        make_folder(folder).map_err(|error| {
            let problem = format!("{}: {error}; choose another path", folder.display());
            StartError::Config(config.error(&["database", "url"], &problem))
        })?;
    }
    let url = format!("sqlite:{}", path.display());
    let tuning = tuned(Tuning::default(), config);
    let opened = tokio::task::spawn_blocking(move || longtake_store::open_with(&url, options, tuning)).await;
    opened
        .map_err(|error| StartError::Other(format!("opening the database ended badly: {error}")))?
        .map_err(|error| StartError::Other(format!("{}: {error}", path.display())))
}

fn postgres_tuning(config: &Config) -> PostgresTuning {
    let connections = usize::try_from(config.database.pool_size).unwrap_or(usize::MAX);
    let acquire_timeout = Duration::from_secs(config.database.acquire_timeout_secs);
    let failover_loses_nothing = config.database.failover == Failover::Synchronous;
    PostgresTuning { connections, acquire_timeout, failover_loses_nothing, ..PostgresTuning::default() }
}

/// Looks through the whole database for damage. PostgreSQL keeps that to itself.
///
/// # Errors
/// What was found, in one line with the remedy.
pub async fn check_database(config: &Config) -> Result<(), StartError> {
    let Database::Sqlite(path) = config.database()? else { return Ok(()) };
    let shown = path.display().to_string();
    let checked = tokio::task::spawn_blocking(move || longtake_store::sqlite::open::check(&path)).await;
    match checked {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(StartError::Other(format!("{shown}: {error}; restore it from a backup"))),
        Err(error) => Err(StartError::Other(format!("{shown}: the check ended badly: {error}"))),
    }
}

fn tuned(mut tuning: Tuning, config: &Config) -> Tuning {
    tuning.low_water_bytes = config.limits.low_water_bytes;
    tuning
}

/// The store can no longer be trusted to say what is durable: the next start reads the truth from the disk.
fn fail_stop(reason: &str) {
    tracing::error!(reason, "the database failed, so this process ends: {reason}");
    eprintln!("longtake: the database failed: {reason}; free room or repair the disk, then start again");
    std::process::exit(1);
}

/// Between two looks whether the store is closed, and how many there are: five seconds.
const CLOSE_PAUSE: Duration = Duration::from_millis(2);
const MAX_CLOSE_LOOKS: u32 = 2_500;

/// A system that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its handlers share.
    pub app: App,
    /// The admin key.
    pub admin_key: String,
    server: JoinHandle<std::io::Result<()>>,
    drain: Duration,
    stop: CancellationToken,
    locked: Locked,
}

/// Starts everything on a listener, taking the lock first.
///
/// # Errors
/// As [`lock`] and [`start_locked`].
pub async fn start(config: Config, listener: TcpListener) -> Result<Running, StartError> {
    let locked = lock(&config)?;
    start_locked(locked, config, listener).await
}

/// Starts everything on a listener.
///
/// # Errors
/// Why it cannot start, in one line.
pub async fn start_locked(locked: Locked, config: Config, listener: TcpListener) -> Result<Running, StartError> {
    install_crypto();
    let address = listener.local_addr().map_err(|error| StartError::Other(format!("no address: {error}")))?;
    if config.server.insecure_no_auth && !address.ip().is_loopback() {
        let problem = format!("is refused on {address}, which others can reach; listen on 127.0.0.1, or use keys");
        return Err(config.error(&["server", "insecure_no_auth"], &problem).into());
    }
    // What the config promises comes first: nothing is opened where it cannot be kept.
    let secrets = secrets(&config)?;
    let admin_key = admin_key(&config)?;
    let secret_key = secret_key(&config)?;
    let opened = open(&config, &locked).await?;
    ours(&config, &opened, &secret_key).await?;
    let wired = wire(&config, &secrets, &opened).await?;
    let models = models(&config, &wired)?;
    let engine = Engine::start(Parts {
        store: Arc::clone(&opened.store),
        artifacts: Arc::clone(&opened.artifacts),
        probe: Arc::new(Mp4Probe),
        clock: Arc::clone(&opened.clock),
        random: Arc::clone(&opened.random),
        accounts: wired.accounts.clone(),
        routes: wired.models.iter().cloned().collect(),
        secret_key,
        process: process::this(),
        config: engine_config(&config, &opened).await?,
    });
    let engine = engine.await.map_err(|error| StartError::Other(format!("the engine cannot start: {error}")))?;
    let limits = config.http_limits();
    let inputs = InputFetcher::new(config.inputs.allow_networks.clone())
        .map_err(|error| StartError::Other(format!("no HTTP client for input images: {error}")))?;
    let webhooks = WebhookClient::new(config.webhooks.allow_networks.clone(), config.webhooks.allow_http)
        .map_err(|error| StartError::Other(format!("no HTTP client for webhooks: {error}")))?;
    let stop = CancellationToken::new();
    let app = App::new(AppParts {
        store: opened.store,
        artifacts: opened.artifacts,
        engine: Arc::new(engine),
        clock: opened.clock,
        random: opened.random,
        models,
        accounts: wired.accounts,
        memory: Memory::new(&limits),
        limits: limits.clone(),
        admin_key_hash: key_hash(&admin_key),
        public_url: config.general.public_url.as_ref().map(|url| url.as_str().into()),
        redirect: config.redirect(),
        insecure_no_auth: config.server.insecure_no_auth,
        inputs,
        webhooks,
        metrics: Arc::new(HttpMetrics::new(config.general.role.word())),
        low_water_bytes: config.limits.low_water_bytes,
        draining: CancellationToken::new(),
        stopping: stop.clone(),
    });
    app.engine.deliver(Arc::new(Sender::new(app.clone())));
    let routes = routes_of(config.general.role, app.clone());
    let stopped = stop.clone();
    let server = tokio::spawn(async move { serve(listener, routes, &limits, stopped.cancelled_owned()).await });
    locked.note(&config, address)?;
    // No proxy sends anything to a worker: it hands its jobs back at once.
    let drain = match config.general.role {
        Role::Worker => Duration::ZERO,
        Role::All | Role::Api => Duration::from_secs(config.server.drain_secs),
    };
    Ok(Running { address, app, admin_key, server, drain, stop, locked })
}

/// What a process with this role serves.
fn routes_of(role: Role, app: App) -> Router {
    match role {
        Role::Worker => worker_router(app),
        Role::All | Role::Api => router(app),
    }
}

/// How often the database is asked for news of own jobs that providers call other processes about.
const NEWS_INTERVAL: Duration = Duration::from_millis(30);

/// The engine's limits, and what is kept for how long.
async fn engine_config(config: &Config, opened: &Opened) -> Result<EngineConfig, StartError> {
    let wired = retention(config, &opened.store).await?;
    for name in &wired.strange {
        let line = config.error(&["retention", "projects", name], STRANGE);
        tracing::warn!("{line}");
    }
    // On SQLite no other process takes callbacks in.
    let shared = matches!(config.database()?, Database::Postgres(_)) && config.general.public_url.is_some();
    let news_interval = shared.then_some(NEWS_INTERVAL);
    Ok(EngineConfig { retention: wired.policy, news_interval, ..config.engine() })
}

impl Running {
    /// Stops accepting, ends requests under way, hands all work back, and lets go of the data directory.
    /// Jobs go on at the next start.
    pub async fn stop(self) {
        self.app.draining.cancel();
        if !self.drain.is_zero() {
            self.app.clock.sleep(self.drain).await;
        }
        self.stop.cancel();
        // At the same time: a submission under way needs no open connection of a client.
        let (served, ()) = tokio::join!(self.server, self.app.engine.drain());
        if let Ok(Err(error)) = served {
            tracing::warn!(%error, "the HTTP server ended badly");
        }
        // Only now: the last requests may be creates.
        self.app.engine.end();
        // The store closes with its last user, which shall be us; only then another process may have the data directory.
        let (store, clock) = (Arc::clone(&self.app.store), Arc::clone(&self.app.clock));
        drop(self.app);
        for _ in 0..MAX_CLOSE_LOOKS {
            if Arc::strong_count(&store) == 1 {
                break;
            }
            clock.sleep(CLOSE_PAUSE).await;
        }
        // Closing waits for the disk.
        if let Err(error) = tokio::task::spawn_blocking(move || drop(store)).await {
            tracing::warn!(%error, "the database ended badly");
        }
        drop(self.locked);
    }
}

/// Rows and bytes are those of the installation that has this key.
async fn ours(config: &Config, opened: &Opened, secret_key: &[u8; 32]) -> Result<(), StartError> {
    agree(config, opened, secret_key).await?;
    claim(config, opened, secret_key).await
}

/// What a secret key is known by where it must not be known itself.
fn fingerprint(secret_key: &[u8; 32], purpose: &[u8]) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret_key);
    let signed = aws_lc_rs::hmac::sign(&key, purpose);
    Digest(signed.as_ref().try_into().unwrap_or([0; 32])).to_string()
}

/// Our names for attempts come from the secret key: with another one lost submissions would not be found again.
async fn agree(config: &Config, opened: &Opened, secret_key: &[u8; 32]) -> Result<(), StartError> {
    match opened.store.agree("secret_key", &fingerprint(secret_key, b"longtake secret key")).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let problem = "is not the one this database was first used with: lost submissions would not be found again; set LONGTAKE_SECRET_KEY to that one, or bring its secret.key back";
            Err(config.error(&["secret_key"], problem).into())
        }
        Err(error) => Err(StartError::Other(format!("the database does not work: {error}"))),
    }
}

fn models(config: &Config, wired: &Wired) -> Result<Models, StartError> {
    Models::new(wired.models.clone(), config.default_model(), &wired.accounts).map_err(|error| {
        let name = config.models.iter().map(|model| &model.name).find(|name| error.to_string().contains(name.as_str()));
        let path = ["models", name.map_or("", String::as_str), "routes"];
        StartError::Config(config.error(&path, &format!("{error}; correct the route")))
    })
}

/// One crypto provider for all TLS of the process. Installing it twice is fine.
pub fn install_crypto() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// A public model and its routes.
pub type NamedRoutes = (String, Vec<Route>);
