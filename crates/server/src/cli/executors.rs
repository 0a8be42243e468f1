//! `longtake executors`: who drives jobs, and a person's word that one of them is gone.

use clap::{Args, Subcommand};
use longtake_core::id::ExecutorId;
use longtake_core::store::ExecutorRow;
use longtake_core::time::Timestamp;
use serde_json::json;

use super::output;
use super::{CliError, Global};
use crate::config::Database;
use crate::wiring::{self, Opened};

/// Most incarnations shown.
const MAX_SHOWN: usize = 200;

/// See the processes that drive jobs, and say which are gone for good (PostgreSQL)
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longtake executors list\n  longtake executors confirm-dead 42 --yes")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the newest incarnations of all processes
    #[command(after_help = "Examples:\n  longtake executors list\n  longtake executors list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say that the process behind an incarnation sends no more, so that its lost submissions can be settled
    ///
    /// Only for one whose machine is gone, or which you ended yourself. If it is merely unreachable and wakes up later, a
    /// video may be paid for twice.
    #[command(after_help = "Examples:\n  longtake executors confirm-dead 42 --yes")]
    ConfirmDead {
        /// Its number, as `longtake executors list` shows it
        id: i64,
        /// You are sure
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(global: Global, arguments: Arguments) -> Result<(), CliError> {
    let config = global.load()?;
    if let Database::Sqlite(_) = config.database()? {
        let problem =
            "with SQLite there is one process, and its lock says whether it lives: nothing to list or to confirm";
        return Err(CliError::failed(problem));
    }
    let locked = wiring::lock(&config)?;
    let opened = wiring::open(&config, &locked).await?;
    match arguments.command {
        Command::List { json } => list(&opened, json).await,
        Command::ConfirmDead { id, yes } => confirm(&opened, ExecutorId(id), yes).await,
    }
}

async fn list(opened: &Opened, json: bool) -> Result<(), CliError> {
    let failed = |error| CliError::Failed(format!("the executors cannot be read: {error}"));
    let rows = opened.store.executors(MAX_SHOWN).await.map_err(failed)?;
    let now = opened.store.now().await.map_err(failed)?;
    if json {
        let rows: Vec<_> = rows.iter().map(|row| as_json(row, now)).collect();
        output::json(&json!(rows));
        return Ok(());
    }
    let table = rows.iter().map(|row| {
        let silent = now.since(row.beat_at).as_secs();
        vec![
            row.executor.to_string(),
            state(row).to_owned(),
            row.process.host.clone(),
            row.process.pid.to_string(),
            format!("{silent} s ago"),
            row.in_doubt.to_string(),
        ]
    });
    output::table(&["ID", "STATE", "HOST", "PID", "LAST SEEN", "IN DOUBT"], &table.collect::<Vec<_>>());
    Ok(())
}

fn state(row: &ExecutorRow) -> &'static str {
    match (row.dead_at, row.process_dead_at) {
        (None, _) => "alive",
        (Some(_), None) => "given up",
        (Some(_), Some(_)) => "gone",
    }
}

fn as_json(row: &ExecutorRow, now: Timestamp) -> serde_json::Value {
    json!({
        "id": row.executor.0,
        "state": state(row),
        "host": row.process.host,
        "pid": row.process.pid,
        "silent_seconds": now.since(row.beat_at).as_secs(),
        "attempts_in_doubt": row.in_doubt,
    })
}

async fn confirm(opened: &Opened, executor: ExecutorId, yes: bool) -> Result<(), CliError> {
    if !yes {
        let problem = format!(
            "if the process behind {executor} is only unreachable, a video may be paid for twice; repeat with --yes when its machine is gone"
        );
        return Err(CliError::Usage(problem));
    }
    let confirmed = opened.store.confirm_dead(executor).await;
    match confirmed.map_err(|error| CliError::Failed(format!("it cannot be noted: {error}")))? {
        true => {
            output::line(&format!("executor {executor} is gone: what it left in doubt is being settled"));
            Ok(())
        }
        false => Err(CliError::Failed(format!(
            "there is no executor {executor} that was given up; one that still beats is alive: see longtake executors list"
        ))),
    }
}
