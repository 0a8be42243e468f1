//! The command line: one file per command. It is a client of the HTTP API like any other.
//!
//! Commands find a server, or become one for as long as it takes (`link`), so they always work. People get tables and a
//! progress bar, programs get `--json`. Errors go to standard error as `longtake: …`; exit code 0, 1, or 2 for usage.
//! Absent: rules about jobs, and any access to the database beside `migrate`, `doctor`, `executors` and `quarantine`.

mod client;
mod doctor;
mod download;
mod executors;
mod file;
mod generate;
mod interrupt;
mod keys;
mod link;
mod migrate;
mod models;
mod openapi;
mod output;
mod progress;
mod quarantine;
mod serve;
mod sse;
mod videos;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{Config, ConfigError, Sources};
use crate::wiring::StartError;

/// A self-hosted gateway for AI video generation whose jobs survive everything.
#[derive(Debug, Parser)]
#[command(
    name = "longtake",
    version,
    after_help = "Examples:\n  longtake generate \"a lighthouse in a storm\"\n  longtake serve\n  longtake videos list\n\nNo key and no config are needed to begin: the built-in model sandbox renders real videos."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Global {
    /// Config file [default: ./longtake.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where this machine keeps everything [default: ./longtake-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where rows are kept: sqlite:PATH or postgres://USER@HOST/NAME [default: longtake.db in the data directory]
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
    /// The server to talk to, instead of finding or being one
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Generate(generate::Arguments),
    Serve(serve::Arguments),
    Videos(videos::Arguments),
    Models(models::Arguments),
    Keys(keys::Arguments),
    Executors(executors::Arguments),
    Migrate(migrate::Arguments),
    Quarantine(quarantine::Arguments),
    Doctor(doctor::Arguments),
    Openapi(openapi::Arguments),
}

/// How a command ends, if not well.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The command line makes no sense: exit code 2.
    Usage(String),
    /// It did not work: exit code 1.
    Failed(String),
    /// Everything was said already.
    Silent(u8),
}

impl CliError {
    /// It did not work.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What `main` does.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    crate::wiring::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(cli));
            // What still runs was told to stop, or belongs to nobody any more.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(CliError::failed(format!("no threads for this process: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::Usage(message)) => ended(&message, 2),
        Err(CliError::Failed(message)) => ended(&message, 1),
        Err(CliError::Silent(code)) => ExitCode::from(code),
    }
}

fn ended(message: &str, code: u8) -> ExitCode {
    output::complain(message);
    ExitCode::from(code)
}

fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let text = error.to_string();
    ended(text.strip_prefix("error: ").unwrap_or(&text).trim_end(), 2)
}

async fn run(cli: Cli) -> Result<(), CliError> {
    let Cli { global, command } = cli;
    match command {
        Command::Generate(arguments) => generate::run(global, arguments).await,
        Command::Serve(arguments) => serve::run(global, arguments).await,
        Command::Videos(arguments) => videos::run(global, arguments).await,
        Command::Models(arguments) => models::run(global, arguments).await,
        Command::Keys(arguments) => keys::run(global, arguments).await,
        Command::Executors(arguments) => executors::run(global, arguments).await,
        Command::Quarantine(arguments) => quarantine::run(global, arguments).await,
        Command::Migrate(arguments) => migrate::run(global, arguments).await,
        Command::Doctor(arguments) => doctor::run(global, arguments).await,
        Command::Openapi(arguments) => openapi::run(&arguments),
    }
}

impl Global {
    /// The config with these flags, and logs as quiet as a command should be.
    fn load(&self) -> Result<Config, CliError> {
        let config = self.config_with(Vec::new())?;
        crate::logging::start(&config.log, "warn").map_err(CliError::Failed)?;
        Ok(config)
    }

    /// The config with these and more flags.
    fn config_with(&self, more: Vec<(&'static str, &'static [&'static str], String)>) -> Result<Config, CliError> {
        let mut sources = Sources::of_process();
        sources.file.clone_from(&self.config);
        if let Some(data_dir) = &self.data_dir {
            sources.flags.push(("--data-dir", &["data_dir"], data_dir.clone()));
        }
        if let Some(database) = &self.database {
            sources.flags.push(("--database", &["database", "url"], database.clone()));
        }
        sources.flags.extend(more);
        let mut config = Config::load(sources)?;
        if let Some(server) = &self.server {
            config.server_url = Some(server.clone());
        }
        Ok(config)
    }

    /// These flags as they must be repeated in a command that picks up where this one ends.
    fn repeated(&self) -> String {
        let mut text = String::new();
        let config = self.config.as_ref().map(|config| config.display().to_string());
        // A password is not repeated on a terminal.
        let database = self.database.as_deref().map(longtake_store::without_password);
        let flags = [
            ("--config", config),
            ("--data-dir", self.data_dir.clone()),
            ("--database", database),
            ("--server", self.server.clone()),
        ];
        for (flag, value) in flags {
            if let Some(value) = value {
                text.push_str(&format!(" {flag} {}", quoted(&value)));
            }
        }
        text
    }
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Every command with its help, for the tests: path and text.
pub fn all_help() -> Vec<(String, String)> {
    fn walk(command: &mut clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        found.push((path.to_owned(), command.render_long_help().to_string()));
        let names: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
        for name in names.iter().filter(|name| *name != "help") {
            if let Some(inner) = command.find_subcommand_mut(name) {
                walk(inner, &format!("{path} {name}"), found);
            }
        }
    }
    let mut found = Vec::new();
    walk(&mut Cli::command(), "longtake", &mut found);
    found
}

/// Whether a command line can be understood, for the tests of documents.
pub fn understands(arguments: &[String]) -> Result<(), String> {
    let matches = Cli::command().try_get_matches_from(arguments).map_err(|error| error.to_string())?;
    Cli::from_arg_matches(&matches).map(|_| ()).map_err(|error| error.to_string())
}
