//! `longtake doctor`: is everything as it must be? Each finding has its remedy.

mod folder;
mod place;
mod trial;

use std::time::Duration;

use clap::Args;
use longtake_core::artifact::ArtifactKey;
use longtake_core::id::{AttemptNo, Fence, JobId, ProjectId};
use longtake_core::provider::{Call, ProviderError};
use longtake_core::retention::Keep;
use longtake_core::time::Clock;
use secrecy::ExposeSecret;
use serde_json::json;

use self::place::{Place, is_missing};
use self::trial::Trial;
use super::client::{Client, Request};
use super::output;
use super::{CliError, Global};
use crate::clock::{OsRandom, SystemClock};
use crate::config::retention::shown;
use crate::config::storage::Artifacts;
use crate::config::{Config, Database, Failover};
use crate::wiring::{self, Holder, Opened, StartError};

/// Check config, data directory, disk, database, storage and every provider account
///
/// Pays nothing and changes nothing but test files that are removed again; an older database is brought to this version's
/// schema, as by `migrate`. What is not there yet is not made. Exit code 1 if something is wrong: so it is if a data
/// directory, a database file or a folder for videos that was named is not there, since it may be misspelt. Where nobody named
/// one, a first start is only announced.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longtake doctor\n  longtake doctor --json\n  longtake doctor --data-dir /var/lib/longtake"
)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Time for the answer of one account.
const ACCOUNT_TIMEOUT: Duration = Duration::from_secs(20);
/// Further from the database's clock than this is worth a word, in milliseconds.
const MAX_CLOCK_MS: u64 = 1_000;
/// An older transaction is worth a word, in seconds.
const LONG_TRANSACTION_SECS: i64 = 60;
/// 2025-01-01 and 2100-01-01 in Unix seconds: this program is not older, and hopefully not running so long.
const SANE_CLOCK: std::ops::Range<i64> = 1_735_689_600..4_102_444_800;

/// What one check says.
enum Finding {
    Good(String),
    /// It works, but.
    Doubtful(String),
    /// What is wrong and what would do.
    Bad(String),
}

#[derive(Default)]
struct Report {
    findings: Vec<(String, Finding)>,
}

impl Report {
    fn add(&mut self, what: impl Into<String>, finding: Finding) {
        self.findings.push((what.into(), finding));
    }

    fn end(self, json: bool) -> Result<(), CliError> {
        let mut bad = 0;
        let mut checks = Vec::new();
        for (what, finding) in &self.findings {
            let (word, text) = match finding {
                Finding::Good(text) => ("ok", text),
                Finding::Doubtful(text) => ("warn", text),
                Finding::Bad(text) => {
                    bad += 1;
                    ("FAIL", text)
                }
            };
            if json {
                checks.push(json!({"check": what, "outcome": word.to_lowercase(), "message": text}));
            } else {
                output::line(&format!("{word:<5} {what:<20} {text}"));
            }
        }
        if json {
            output::json(&json!({"object": "doctor", "ok": bad == 0, "checks": checks}));
        }
        match bad {
            0 => Ok(()),
            1 => Err(CliError::failed("1 check failed; its line says what to do")),
            many => Err(CliError::Failed(format!("{many} checks failed; their lines say what to do"))),
        }
    }
}

pub(crate) async fn run(global: Global, arguments: Arguments) -> Result<(), CliError> {
    let mut report = Report::default();
    let config = match global.load() {
        Ok(config) => config,
        Err(CliError::Failed(problem)) => {
            report.add("config", Finding::Bad(problem));
            return report.end(arguments.json);
        }
        Err(error) => return Err(error),
    };
    report.add(
        "config",
        Finding::Good(
            config.file().map_or_else(|| "no file, all defaults".to_owned(), |file| file.display().to_string()),
        ),
    );
    report.add("clock", clock());
    report.add("retention", Finding::Good(kept(&config)));
    if let Ok(Database::Postgres(url)) = config.database() {
        server(&config, url.expose_secret(), &mut report).await;
    }
    installation(&config, &mut report).await;
    report.end(arguments.json)
}

/// Opens what is there. Opening makes what is missing, so an installation that is not whole is looked at in parts.
async fn installation(config: &Config, report: &mut Report) {
    let place = Place::of(config);
    let locked = match place.is_there().then(|| wiring::lock(config)) {
        None => None,
        Some(Ok(locked)) => Some(locked),
        Some(Err(StartError::Held { holder, .. })) => {
            folder::check(config, &place, report);
            report.add("server", running_server(config, &holder).await);
            let problem = "not asked while a server runs; stop it to have them checked";
            return report.add("accounts", Finding::Doubtful(problem.to_owned()));
        }
        Some(Err(error)) => return report.add("data directory", Finding::Bad(error.to_string())),
    };
    folder::check(config, &place, report);
    let opened = match &locked {
        Some(locked) if place.videos.is_none() => wiring::open(config, locked).await.map(Some),
        _ => Ok(None),
    };
    match opened {
        Ok(Some(opened)) => opened_parts(config, &opened, report).await,
        Ok(None) => parts(config, &place, None, report).await,
        // The database was opened before, and its place is known to be there: what the config says of the store is wrong.
        Err(StartError::Config(error)) => parts(config, &place, Some(error.to_string()), report).await,
        Err(error) => report.add("database", Finding::Bad(database_problem(config, &error))),
    }
}

fn database_problem(config: &Config, error: &StartError) -> String {
    match config.database() {
        Ok(Database::Postgres(_)) => format!("{error}; check [database], the network and the server's log"),
        _ => format!("{error}; restore it from a backup if it is damaged"),
    }
}

/// What can be checked where not everything can be opened: the bucket and the accounts are asked from an installation for
/// trial. `problem` is what is known to be wrong with the artifact store.
async fn parts(config: &Config, place: &Place, problem: Option<String>, report: &mut Report) {
    report.add("database", place.database(config).await);
    let known = problem.is_some();
    if let Some(finding) = problem.map(Finding::Bad).or_else(|| place.videos(config)) {
        report.add("artifact store", finding);
    }
    keys(config, place.is_first_start(), report);
    let opened = match Trial::new(config) {
        Ok(trial) if known => trial.without_storage().open().await,
        Ok(trial) => match trial.open().await {
            Err((StartError::Config(error), trial)) => {
                report.add("artifact store", Finding::Bad(error.to_string()));
                trial.without_storage().open().await
            }
            opened => opened,
        },
        Err(error) => return report.add("accounts", Finding::Doubtful(format!("cannot be asked: {error}"))),
    };
    let trial = match opened {
        Ok(trial) => trial,
        Err((error, _)) => return report.add("accounts", Finding::Doubtful(format!("cannot be asked: {error}"))),
    };
    if trial.opened.bucket.is_some() {
        report.add("artifact store", artifacts(&trial.config, &trial.opened).await);
    }
    if place.is_first_start() {
        policies(config, &trial.opened, report).await;
    }
    accounts(&trial.config, &trial.opened, report).await;
}

/// What is kept for how long.
fn kept(config: &Config) -> String {
    let keep = config.retention.keep();
    let others = config.project_retention.iter();
    let others = others.map(|project| format!("; {}: {}", project.name, shown(&project.over(&config.retention))));
    let others: String = others.collect();
    if keep == Keep::default() && others.is_empty() {
        return "everything for ever".to_owned();
    }
    format!("{}{others}", shown(&keep))
}

fn clock() -> Finding {
    let now = SystemClock.now().as_secs();
    if SANE_CLOCK.contains(&now) {
        return Finding::Good(format!("{} UTC", output::time(now)));
    }
    Finding::Bad(format!("the machine believes it is {} UTC; set its clock, such as with NTP", output::time(now)))
}

/// How the database server is set. What would lose commits is refused when connecting.
async fn server(config: &Config, url: &str, report: &mut Report) {
    let facts = match longtake_store::postgres::inspect::inspect(url).await {
        Ok(facts) => facts,
        Err(error) => return report.add("postgresql", Finding::Bad(error.to_string())),
    };
    report.add("postgresql", Finding::Good(format!("version {}", facts.version)));
    let off = SystemClock.now().as_micros().saturating_sub(facts.now.as_micros()).unsigned_abs() / 1_000;
    report.add(
        "database clock",
        match off {
            off if off > MAX_CLOCK_MS => Finding::Doubtful(format!("{off} ms from ours; set both with NTP")),
            off => Finding::Good(format!("{off} ms from ours")),
        },
    );
    let ours = i64::from(config.database.pool_size) + 2;
    let room = (facts.max_connections - facts.connections).max(0);
    let text = format!("{} of {} in use", facts.connections, facts.max_connections);
    report.add(
        "connections",
        match room / ours {
            0 => Finding::Doubtful(format!("{text}: no room for another process; raise max_connections")),
            more => Finding::Good(format!("{text}, room for {more} more processes")),
        },
    );
    let (standbys, confirming) = facts.standbys;
    report.add(
        "replication",
        match (facts.synchronous_standbys.is_empty(), config.database.failover) {
            (true, Failover::Synchronous) => Finding::Bad(
                "[database] failover is \"synchronous\" and synchronous_standby_names is empty: a failover would lose commits unnoticed; set it, or say asynchronous".to_owned(),
            ),
            (true, Failover::Asynchronous) => Finding::Doubtful(format!(
                "{standbys} standbys, none confirms commits: a failover may lose the newest; set synchronous_standby_names"
            )),
            (false, _) => Finding::Good(format!("{standbys} standbys, {confirming} confirm commits")),
        },
    );
    report.add(
        "oldest transaction",
        match facts.oldest_transaction_secs {
            secs if secs > LONG_TRANSACTION_SECS => {
                Finding::Doubtful(format!("{secs} s: it holds back vacuum and the feed; find it in pg_stat_activity"))
            }
            secs => Finding::Good(format!("{secs} s")),
        },
    );
}

async fn running_server(config: &Config, holder: &Holder) -> Finding {
    let Some(address) = holder.address else {
        return Finding::Doubtful(
            "another process has the data directory and does not listen (yet); ask again".to_owned(),
        );
    };
    let ready = match Client::new(&format!("http://{address}"), config.api_key.as_deref()) {
        Ok(client) => client.send(&Request::get("/readyz")).await.map_err(CliError::from),
        Err(error) => Err(error),
    };
    let pid = holder.pid.unwrap_or_default();
    match ready {
        Ok(_) => Finding::Good(format!("process {pid} runs on http://{address} and is ready")),
        Err(CliError::Usage(problem) | CliError::Failed(problem)) => {
            Finding::Bad(format!("process {pid} on http://{address} is not ready: {problem}"))
        }
        Err(CliError::Silent(_)) => {
            Finding::Bad(format!("process {pid} on http://{address} is not ready; see its log"))
        }
    }
}

async fn opened_parts(config: &Config, opened: &Opened, report: &mut Report) {
    report.add("database", rows(config, opened).await);
    let claimed = match secret_key(config) {
        Some(Ok(secret_key)) => wiring::claim(config, opened, &secret_key).await,
        // It has a finding of its own.
        Some(Err(_)) | None => Ok(()),
    };
    report.add(
        "artifact store",
        match claimed {
            Ok(()) => artifacts(config, opened).await,
            Err(error) => Finding::Bad(error.to_string()),
        },
    );
    policies(config, opened, report).await;
    keys(config, false, report);
    accounts(config, opened, report).await;
}

/// Whether everyone for whom something is kept otherwise is known.
async fn policies(config: &Config, opened: &Opened, report: &mut Report) {
    match wiring::retention(config, &opened.store).await {
        Ok(wired) => wired.strange.iter().for_each(|name| {
            report.add(format!("retention of {name}"), Finding::Doubtful(wiring::STRANGE.to_owned()));
        }),
        Err(error) => report.add("retention", Finding::Bad(error.to_string())),
    }
}

/// The secret key; `None` where the next start makes it.
fn secret_key(config: &Config) -> Option<Result<[u8; 32], StartError>> {
    let made =
        config.general.secret_key.is_none() && is_missing(&config.general.data_dir.join(wiring::SECRET_KEY_FILE));
    (!made).then(|| wiring::secret_key(config))
}

fn admin_key(config: &Config) -> Option<Result<String, StartError>> {
    let made = config.general.admin_key.is_none() && is_missing(&config.general.data_dir.join(wiring::ADMIN_KEY_FILE));
    (!made).then(|| wiring::admin_key(config))
}

fn keys(config: &Config, is_first_start: bool, report: &mut Report) {
    let (admin, secret) = (admin_key(config).map(|key| key.map(drop)), secret_key(config).map(|key| key.map(drop)));
    for (name, key, missing) in [
        ("admin key", admin, "not there; the next start makes a new one"),
        (
            "secret key",
            secret,
            "not there; the next start makes another, which a database that knows one refuses: bring secret.key back",
        ),
    ] {
        report.add(
            name,
            match key {
                Some(Ok(())) => Finding::Good("in place".to_owned()),
                Some(Err(error)) => Finding::Bad(error.to_string()),
                None if is_first_start => Finding::Good("made by the first start".to_owned()),
                None => Finding::Doubtful(missing.to_owned()),
            },
        );
    }
}

async fn accounts(config: &Config, opened: &Opened, report: &mut Report) {
    let wired = match wiring::secrets(config) {
        Ok(secrets) => wiring::wire(config, &secrets, opened).await,
        Err(error) => Err(error),
    };
    let wired = match wired {
        Ok(wired) => wired,
        Err(error) => return report.add("accounts", Finding::Bad(error.to_string())),
    };
    for (id, entry) in &wired.accounts {
        let call = Call::new(*id);
        let answer = tokio::select! {
            answer = entry.provider.check_account(&call) => Some(answer),
            () = opened.clock.sleep(ACCOUNT_TIMEOUT) => None,
        };
        report.add(
            format!("account {}", entry.name),
            match answer {
                Some(Ok(seen)) => Finding::Good(seen),
                Some(Err(error)) => Finding::Bad(account_problem(&error)),
                None => Finding::Bad("no answer in time; check base_url and the network".to_owned()),
            },
        );
    }
}

fn account_problem(error: &ProviderError) -> String {
    let remedy = match error {
        ProviderError::Account(_) => "check api_key and the account's credit",
        ProviderError::NotSent { .. } => "check base_url and the network",
        ProviderError::RateLimited { .. } => "ask again later",
        ProviderError::Rejected(_) | ProviderError::Gone | ProviderError::Unknown { .. } => {
            "check base_url and the provider's status page"
        }
    };
    format!("{error}; {remedy}")
}

/// Writes, reads and removes an object. It is of a project that there is not.
async fn artifacts(config: &Config, opened: &Opened) -> Finding {
    let job = JobId::new(opened.clock.now(), &OsRandom);
    let key = ArtifactKey::derived(&ArtifactKey::output(ProjectId(0), job, AttemptNo(0), 0, Fence(0)), "doctor");
    let bytes = bytes::Bytes::from_static(b"longtake doctor");
    let length = bytes.len() as u64;
    let tried = async {
        let mut writer = opened.artifacts.writer(&key).await?;
        writer.write(bytes.clone()).await?;
        writer.finish().await?;
        let read = opened.artifacts.read(&key, 0..length).await;
        opened.artifacts.delete(&key).await?;
        read
    };
    let tried = tried.await;
    if let Ok(Artifacts::Folder(folder)) = config.artifacts() {
        folder::remove_empty(&folder, key.as_str());
    }
    let (place, remedy) = match &opened.bucket {
        Some(bucket) => (
            format!("{}: ", bucket.place()),
            "check [storage], the network, and that the key may list, read, write and delete",
        ),
        None => (String::new(), "check the folder's owner and the room on its disk"),
    };
    match tried {
        Ok(read) if read == bytes => Finding::Good(format!("{place}written, read and removed")),
        Ok(_) => Finding::Bad(format!("{place}what was read is not what was written; replace the disk or the service")),
        Err(error) => Finding::Bad(format!("{place}{error}; {remedy}")),
    }
}

/// Whether the database works and is whole.
async fn rows(config: &Config, opened: &Opened) -> Finding {
    if let Err(error) = wiring::check_database(config).await {
        return Finding::Bad(error.to_string());
    }
    let stats = match opened.store.ready().await {
        Ok(()) => opened.store.stats().await,
        Err(error) => Err(error),
    };
    match stats {
        Ok(stats) => Finding::Good(format!("whole, {} unfinished videos", stats.live.values().sum::<u64>())),
        Err(error) => Finding::Bad(format!("{error}; check its disk and the room on it")),
    }
}
