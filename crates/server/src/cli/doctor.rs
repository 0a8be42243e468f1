//! `longtake doctor`: is everything as it must be? Each finding has its remedy.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use longtake_core::artifact::ArtifactKey;
use longtake_core::id::{AttemptNo, Fence, JobId, ProjectId};
use longtake_core::provider::{Call, ProviderError};
use longtake_core::retention::Keep;
use longtake_core::time::Clock;
use secrecy::ExposeSecret;
use serde_json::json;

use super::client::{Client, Request};
use super::output;
use super::{CliError, Global};
use crate::clock::{OsRandom, SystemClock};
use crate::config::retention::shown;
use crate::config::{Config, Database, Failover};
use crate::wiring::{self, Holder, Opened, StartError};

/// Check config, data directory, disk, database, storage and every provider account
///
/// Pays nothing and changes nothing but a test file that is removed again. Exit code 1 if something is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longtake doctor\n  longtake doctor --json")]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Less free room than this is worth a word, in bytes.
const LOW_ROOM_BYTES: u64 = 2 << 30;
/// Slower syncs than this make accepting videos slow.
const SLOW_SYNC: Duration = Duration::from_millis(50);
/// Syncs measured.
const SYNCS: usize = 15;
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
    match wiring::lock(&config) {
        Ok(locked) => {
            folder(&config, &mut report);
            match wiring::open(&config, &locked).await {
                Ok(opened) => opened_parts(&config, &opened, &mut report).await,
                Err(error) => {
                    report.add("database", Finding::Bad(format!("{error}; restore it from a backup if it is damaged")))
                }
            }
        }
        Err(StartError::Held { holder, .. }) => {
            folder(&config, &mut report);
            report.add("server", running_server(&config, &holder).await);
            report.add(
                "accounts",
                Finding::Doubtful("not asked while a server runs; stop it to have them checked".to_owned()),
            );
        }
        Err(error) => report.add("data directory", Finding::Bad(error.to_string())),
    }
    report.end(arguments.json)
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

/// Rights, room and speed of the data directory.
fn folder(config: &Config, report: &mut Report) {
    let path = &config.general.data_dir;
    let shown = path.display();
    report.add(
        "data directory",
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.permissions().mode() & 0o022 != 0 => {
                Finding::Bad(format!("others can write to {shown}; run chmod 700 {shown}"))
            }
            Ok(metadata) if metadata.uid() != rustix::process::geteuid().as_raw() => {
                Finding::Doubtful(format!("{shown} belongs to user {}, not to us", metadata.uid()))
            }
            Ok(metadata) if metadata.permissions().mode() & 0o044 != 0 => {
                Finding::Doubtful(format!("others can read {shown}; run chmod 700 {shown} if they should not"))
            }
            Ok(_) => Finding::Good(shown.to_string()),
            Err(error) => Finding::Bad(format!("{shown}: {error}; choose another with --data-dir")),
        },
    );
    report.add(
        "disk room",
        match rustix::fs::statvfs(path) {
            Ok(room) => {
                let free = room.f_bavail.saturating_mul(room.f_frsize);
                let text = format!("{} MiB free", free >> 20);
                match free {
                    free if free < config.limits.low_water_bytes => Finding::Bad(format!(
                        "{text}: new videos are refused; make room, or lower [limits] low_water_bytes"
                    )),
                    free if free < LOW_ROOM_BYTES => Finding::Doubtful(format!("{text}; make room soon")),
                    _ => Finding::Good(text),
                }
            }
            Err(error) => Finding::Doubtful(format!("cannot be told: {error}")),
        },
    );
    report.add(
        "disk sync",
        match sync_time(path) {
            Ok(median) if median > SLOW_SYNC => Finding::Doubtful(format!(
                "{:.1} ms for one sync: every accepted video waits for one; use a faster disk",
                median.as_secs_f64() * 1_000.0
            )),
            Ok(median) => {
                Finding::Good(format!("{:.2} ms for one sync (median of {SYNCS})", median.as_secs_f64() * 1_000.0))
            }
            Err(error) => Finding::Bad(format!("{shown} cannot be written and synced: {error}; check the disk")),
        },
    );
}

/// The median time of a small durable write.
fn sync_time(folder: &Path) -> std::io::Result<Duration> {
    let path = folder.join(".doctor");
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    let mut times = Vec::with_capacity(SYNCS);
    let measured = (0..SYNCS).try_for_each(|_| {
        let began = SystemClock.monotonic();
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
        times.push(SystemClock.monotonic().saturating_sub(began));
        Ok(())
    });
    std::fs::remove_file(&path)?;
    measured.map(|()| {
        times.sort_unstable();
        times.get(SYNCS / 2).copied().unwrap_or_default()
    })
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
    report.add("artifact store", artifacts(config, opened).await);
    match wiring::retention(config, &opened.store).await {
        Ok(wired) => wired.strange.iter().for_each(|name| {
            report.add(format!("retention of {name}"), Finding::Doubtful(wiring::STRANGE.to_owned()));
        }),
        Err(error) => report.add("retention", Finding::Bad(error.to_string())),
    }
    for (name, problem) in
        [("admin key", wiring::admin_key(config).err()), ("secret key", wiring::secret_key(config).err())]
    {
        report.add(
            name,
            problem.map_or_else(|| Finding::Good("in place".to_owned()), |error| Finding::Bad(error.to_string())),
        );
    }
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

/// Writes, reads and removes an object; of a bucket, whether it is ours, too.
async fn artifacts(config: &Config, opened: &Opened) -> Finding {
    let claimed = match wiring::secret_key(config) {
        Ok(secret_key) => wiring::claim(config, opened, &secret_key).await,
        // It has a finding of its own.
        Err(_) => Ok(()),
    };
    if let Err(error) = claimed {
        return Finding::Bad(error.to_string());
    }
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
    let (place, remedy) = match &opened.bucket {
        Some(bucket) => (
            format!("{}: ", bucket.place()),
            "check [storage], the network, and that the key may list, read, write and delete",
        ),
        None => (String::new(), "check the folder's owner and the room on its disk"),
    };
    match tried.await {
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
