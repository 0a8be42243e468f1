//! `longtake.toml`, `LONGTAKE_*` variables and flags, as one typed [`Config`].
//!
//! Layers are laid over each other first (`layers`, `environment`), then read setting by setting (`sections`, `accounts`),
//! so that every error names the file or variable, the key and the remedy in one line. Nothing is opened here and no
//! secret is read: commands that only talk to a server need neither. Absent: reloading; a config is read once, at start.

pub mod accounts;
pub mod document;
pub mod environment;
pub mod layers;
mod nearest;
pub mod public_url;
mod read;
pub mod retention;
pub mod secret;
pub mod sections;
pub mod storage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longtake_engine::{EngineConfig, WebhookConfig};
use secrecy::{ExposeSecret, SecretString};
use toml::{Table, Value};

pub use accounts::{AccountSettings, ModelSettings, RouteSettings, SANDBOX};
use layers::Layers;
pub use layers::Origin;
pub use retention::{Kept, ProjectRetention};
pub use sections::{
    DatabaseConfig, Failover, Field, General, InputsConfig, LimitsConfig, LogConfig, LogFormat, RetentionConfig,
    RetryConfig, Role, SandboxConfig, Section, ServerConfig, StorageConfig, WebhooksConfig, WorkerConfig,
};

use crate::http::limits::Limits;

/// A config that cannot be used, in one line: file or variable, key, problem, remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

/// Where a config comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// Flags: name, key and value.
    pub flags: Vec<(&'static str, &'static [&'static str], String)>,
    /// Relative paths start here.
    pub folder: PathBuf,
}

impl Sources {
    /// The environment and working folder of this process, without flags. Values that are no UTF-8 are not ours.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os();
        let variables =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { variables: variables.collect(), ..Self::default() }
    }

    /// A variable, unless it is empty.
    pub fn variable(&self, name: &str) -> Option<String> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }
}

/// Where rows are kept.
#[derive(Debug, Clone)]
pub enum Database {
    /// In this file, by this process alone.
    Sqlite(PathBuf),
    /// At this URL, by any number of processes.
    Postgres(SecretString),
}

impl Database {
    /// For people: without what may be a password.
    pub fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(url) => longtake_store::without_password(url.expose_secret()),
        }
    }
}

/// Everything that can be set.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What stands before any section.
    pub general: General,
    /// `[database]`.
    pub database: DatabaseConfig,
    /// `[storage]`.
    pub storage: StorageConfig,
    /// `[server]`.
    pub server: ServerConfig,
    /// `[worker]`.
    pub worker: WorkerConfig,
    /// `[retry]`.
    pub retry: RetryConfig,
    /// `[sandbox]`.
    pub sandbox: SandboxConfig,
    /// `[limits]`.
    pub limits: LimitsConfig,
    /// `[retention]`.
    pub retention: RetentionConfig,
    /// `[retention.projects.NAME]`, in the order of the file.
    pub project_retention: Vec<ProjectRetention>,
    /// `[inputs]`.
    pub inputs: InputsConfig,
    /// `[webhooks]`.
    pub webhooks: WebhooksConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// `[accounts.X]`, in the order of the file, without the built-in one.
    pub accounts: Vec<AccountSettings>,
    /// `[models.X]`, in the order of the file, without the built-in one.
    pub models: Vec<ModelSettings>,
    /// `--server` or `LONGTAKE_URL`.
    pub server_url: Option<String>,
    /// `LONGTAKE_API_KEY`.
    pub api_key: Option<String>,
    /// Whether someone named the data directory.
    pub data_dir_was_named: bool,
    /// What it was read from.
    pub sources: Sources,
    layers: Layers,
}

/// All settings of all sections, with the section's name.
pub fn section_fields() -> Vec<(&'static str, Field)> {
    fn of<S: Section>() -> impl Iterator<Item = (&'static str, Field)> {
        S::fields().into_iter().map(|field| (S::NAME, field))
    }
    of::<General>()
        .chain(of::<DatabaseConfig>())
        .chain(of::<StorageConfig>())
        .chain(of::<ServerConfig>())
        .chain(of::<WorkerConfig>())
        .chain(of::<RetryConfig>())
        .chain(of::<SandboxConfig>())
        .chain(of::<LimitsConfig>())
        .chain(of::<RetentionConfig>())
        .chain(of::<InputsConfig>())
        .chain(of::<WebhooksConfig>())
        .chain(of::<LogConfig>())
        .collect()
}

impl Config {
    /// Defaults with this data directory and any free port: for tests and for the embedded server.
    pub fn in_folder(data_dir: &Path) -> Self {
        let general =
            General { data_dir: data_dir.to_owned(), listen: ([127, 0, 0, 1], 0).into(), ..General::default() };
        Self { general, data_dir_was_named: true, ..Self::default() }
    }

    /// Reads all layers.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let named = sources.file.clone().or_else(|| sources.variable("LONGTAKE_CONFIG").map(PathBuf::from));
        let mut layers = Layers::from_file(named.as_deref(), &sources.folder)?;
        environment::apply(&mut layers, &sources.variables)?;
        for (flag, path, value) in &sources.flags {
            layers.set(path, Value::String(value.clone()), Origin::Flag(flag))?;
        }
        let mut config = Self::read(layers)?;
        config.server_url = sources.variable("LONGTAKE_URL");
        config.api_key = sources.variable("LONGTAKE_API_KEY");
        config.sources = sources;
        config.check()?;
        Ok(config)
    }

    fn read(layers: Layers) -> Result<Self, ConfigError> {
        let mut table = layers.table.clone();
        let data_dir_was_named = table.contains_key("data_dir");
        let (accounts, models) =
            (named_tables(&layers, &mut table, "accounts")?, named_tables(&layers, &mut table, "models")?);
        let (retention, project_retention) = retention::take(&layers, &mut table)?;
        let accounts = accounts
            .into_iter()
            .map(|(name, table)| AccountSettings::read(&layers, &name, table))
            .collect::<Result<Vec<_>, _>>()?;
        let mut names: Vec<&str> = accounts.iter().map(|account| account.name.as_str()).collect();
        if !names.contains(&SANDBOX) {
            names.push(SANDBOX);
        }
        let models = models
            .into_iter()
            .map(|(name, table)| ModelSettings::read(&layers, &name, table, &names))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            database: section(&layers, &mut table)?,
            storage: section(&layers, &mut table)?,
            server: section(&layers, &mut table)?,
            worker: section(&layers, &mut table)?,
            retry: section(&layers, &mut table)?,
            sandbox: section(&layers, &mut table)?,
            limits: section(&layers, &mut table)?,
            retention,
            project_retention,
            inputs: section(&layers, &mut table)?,
            webhooks: section(&layers, &mut table)?,
            log: section(&layers, &mut table)?,
            general: general(&layers, table)?,
            accounts,
            models,
            data_dir_was_named,
            layers,
            ..Self::default()
        })
    }

    /// What no single setting can say.
    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |path: &[&str], problem: &str| Err(self.layers.error(path, problem));
        let database = self.database()?;
        self.artifacts()?;
        if self.general.role != Role::All && matches!(database, Database::Sqlite(_)) {
            return wrong(
                &["role"],
                "SQLite means one process that does everything; api and worker need PostgreSQL, so use all",
            );
        }
        if self.server.insecure_no_auth && !self.general.listen.ip().is_loopback() {
            let problem = format!(
                "is refused on {}, which others can reach; listen on 127.0.0.1, or use keys",
                self.general.listen
            );
            return wrong(&["server", "insecure_no_auth"], &problem);
        }
        let known: Vec<&str> = self.accounts.iter().map(|account| account.name.as_str()).chain([SANDBOX]).collect();
        if let Some(stranger) = self.worker.accounts.iter().find(|name| !known.contains(&name.as_str())) {
            let hint = nearest::suggestion(stranger, &known);
            return wrong(&["worker", "accounts"], &format!("there is no account {stranger:?}{hint}"));
        }
        if self.worker.ttl_secs <= self.worker.beat_secs.saturating_add(self.worker.margin_secs) {
            return wrong(
                &["worker", "ttl_secs"],
                "must exceed beat_secs and margin_secs together; raise it or lower those",
            );
        }
        self.check_limits()?;
        if let Some(level) = &self.log.level
            && let Err(problem) = crate::logging::check_level(level)
        {
            return wrong(&["log", "level"], &problem);
        }
        if let Some(account) =
            self.accounts.iter().find(|account| account.name == SANDBOX && account.provider != SANDBOX)
        {
            let path = ["accounts", &account.name, "provider"];
            return wrong(&path, "the name sandbox belongs to the built-in account; give this account another name");
        }
        if self.sandbox.enabled && self.models.iter().any(|model| model.name == SANDBOX) {
            let problem = "the name sandbox belongs to the built-in model; give this one another name, or set [sandbox] enabled = false";
            return wrong(&["models", SANDBOX, "routes"], problem);
        }
        if !self.sandbox.enabled && self.models.is_empty() {
            return wrong(
                &["sandbox", "enabled"],
                "is false and there is no [models.X], so nothing could be made; add a model",
            );
        }
        Ok(())
    }

    /// Two public models may share a provider's model, and then its limits.
    fn check_limits(&self) -> Result<(), ConfigError> {
        let mut known = BTreeMap::new();
        for model in &self.models {
            for route in &model.routes {
                let limits = (route.max_in_flight, route.requests_per_minute);
                let first = *known.entry((&route.account, &route.model)).or_insert(limits);
                if first != limits {
                    let problem = format!(
                        "{} of {} has other limits in another route; give all of them the same",
                        route.model, route.account
                    );
                    return Err(self.layers.error(&["models", &model.name, "routes"], &problem));
                }
            }
        }
        Ok(())
    }

    /// Where rows are kept.
    ///
    /// # Errors
    /// Where the config names a database that is not known, or its secret is not there.
    pub fn database(&self) -> Result<Database, ConfigError> {
        let Some(url) = &self.database.url else {
            return Ok(Database::Sqlite(self.general.data_dir.join("longtake.db")));
        };
        let wrong = |problem: &str| Err(self.layers.error(&["database", "url"], problem));
        let variable = |name: &str| self.sources.variable(name).or_else(|| std::env::var(name).ok());
        let url = match url.read(&self.secrets_folder(), variable) {
            Ok(read) => read.secret,
            Err(problem) => return wrong(&problem),
        };
        match url.expose_secret().split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Database::Sqlite(self.sources.folder.join(path))),
            Some(("sqlite", _)) => wrong("names no file; write sqlite:PATH"),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Database::Postgres(url)),
            Some(("postgres" | "postgresql", _)) => wrong("is no URL; write postgres://USER@HOST/NAME"),
            // What is written may hold a password, so it is not shown.
            _ => wrong("names no database that is known; write sqlite:PATH or postgres://USER@HOST/NAME"),
        }
    }

    /// The model taken where a request names none: the first of the file, else the sandbox.
    pub fn default_model(&self) -> &str {
        self.models.first().map_or(SANDBOX, |model| &model.name)
    }

    /// An error about one key, naming where its value came from.
    pub fn error(&self, path: &[&str], problem: &str) -> ConfigError {
        self.layers.error(path, problem)
    }

    /// The folder that `file:` paths of secrets start at.
    pub fn secrets_folder(&self) -> PathBuf {
        self.layers.folder(&self.sources.folder)
    }

    /// The file it was read from.
    pub fn file(&self) -> Option<&Path> {
        self.layers.file.as_deref()
    }

    /// The bounds of the front door.
    pub fn http_limits(&self) -> Limits {
        let (server, limits) = (&self.server, &self.limits);
        let secs = Duration::from_secs;
        Limits {
            max_connections: server.max_connections,
            max_requests: server.max_requests,
            max_event_streams: server.max_event_streams,
            max_uri_bytes: server.max_uri_bytes,
            max_headers: server.max_headers,
            max_header_bytes: server.max_header_bytes,
            max_body_bytes: limits.max_body_bytes,
            max_input_image_bytes: limits.max_input_image_bytes,
            max_bodies_bytes: limits.max_bodies_bytes,
            header_timeout: secs(server.header_timeout_secs),
            body_idle_timeout: secs(server.body_idle_timeout_secs),
            body_timeout: secs(server.body_timeout_secs),
            write_timeout: secs(server.write_timeout_secs),
            heartbeat: secs(server.heartbeat_secs),
            stop_timeout: secs(server.stop_timeout_secs),
            fetch_timeout: secs(self.inputs.fetch_timeout_secs),
            requests_per_minute: limits.requests_per_minute.and_then(std::num::NonZeroU32::new),
        }
    }

    /// The limits of the engine. What is kept for how long is not among them: it goes by the numbers of projects.
    pub fn engine(&self) -> EngineConfig {
        let secs = Duration::from_secs;
        EngineConfig {
            drives: self.general.role != Role::Api,
            concurrency: self.worker.concurrency,
            max_owned: self.worker.max_owned,
            max_inflight_sends: self.worker.max_inflight_sends,
            ttl: secs(self.worker.ttl_secs),
            beat: secs(self.worker.beat_secs),
            margin: secs(self.worker.margin_secs),
            max_attempts: self.retry.max_attempts,
            unavailable_limit: secs(self.retry.unavailable_secs),
            on_unknown: self.retry.on_unknown,
            max_artifact_bytes: self.limits.max_artifact_bytes,
            drain_timeout: secs(self.worker.drain_timeout_secs),
            callback_base: self.general.public_url.as_ref().map(|url| format!("{}/callbacks", url.as_str()).into()),
            webhooks: WebhookConfig {
                concurrency: self.webhooks.concurrency,
                per_endpoint: self.webhooks.per_endpoint,
                lease: secs(self.webhooks.lease_secs),
            },
            ..EngineConfig::default()
        }
    }
}

/// Takes one section out of the whole.
fn section<S: Section>(layers: &Layers, table: &mut Table) -> Result<S, ConfigError> {
    match table.remove(S::NAME) {
        None => Ok(S::default()),
        Some(Value::Table(inner)) => S::read(layers, inner),
        Some(_) => Err(layers.error(&[S::NAME], &format!("is a section; write [{}] and its settings below", S::NAME))),
    }
}

/// What is left when the sections are gone. A typo in a section's name shows here.
fn general(layers: &Layers, table: Table) -> Result<General, ConfigError> {
    let known: Vec<&str> = General::fields().iter().map(|field| field.name).collect();
    let mut sections: Vec<&str> =
        section_fields().iter().map(|(section, _)| *section).filter(|name| !name.is_empty()).collect();
    sections.dedup();
    sections.extend(["accounts", "models"]);
    if let Some(stranger) = table.keys().find(|key| !known.contains(&key.as_str())) {
        let is_section = table.get(stranger).is_some_and(Value::is_table);
        let names = if is_section { sections } else { [known, sections].concat() };
        let what = if is_section { "unknown section" } else { "unknown key" };
        let problem = format!("{what}{}", nearest::suggestion(stranger, &names));
        return Err(layers.error(&[stranger], &problem));
    }
    General::read(layers, table)
}

/// The tables below `[accounts]` or `[models]`, in the order of the file.
fn named_tables(layers: &Layers, table: &mut Table, kind: &str) -> Result<Vec<(String, Table)>, ConfigError> {
    let Some(value) = table.remove(kind) else { return Ok(Vec::new()) };
    let Value::Table(tables) = value else {
        return Err(layers.error(&[kind], &format!("must be sections; write [{kind}.NAME]")));
    };
    let mut named = Vec::with_capacity(tables.len());
    for (name, value) in tables {
        let fits = !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
        match value {
            Value::Table(inner) if fits => named.push((name, inner)),
            Value::Table(_) => {
                return Err(
                    layers.error(&[kind, &name], &format!("a name has 1 to {MAX_NAME_BYTES} bytes; shorten it"))
                );
            }
            _ => return Err(layers.error(&[kind, &name], &format!("must be a section; write [{kind}.{name}]"))),
        }
    }
    Ok(named)
}

/// Longest name of an account or model, in bytes.
const MAX_NAME_BYTES: usize = 128;
