//! Where logs go: standard error, as text for people or JSON for programs. Never prompts, never keys.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Sends logs to standard error from now on; `default` is the level where the config names none.
///
/// A second call changes nothing: the first subscriber stays.
///
/// # Errors
/// Where the level cannot be understood, in one line.
pub fn start(config: &LogConfig, default: &str) -> Result<(), String> {
    let directives = config.level.as_deref().unwrap_or(default);
    let filter = check_level(directives)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let outcome = match config.format {
        LogFormat::Text => builder.with_ansi(stderr().is_terminal()).with_target(false).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    // Tests that run several systems in one process share the first subscriber.
    drop(outcome);
    Ok(())
}

/// Reads a level such as `info` or `info,longtake_engine=debug`.
///
/// # Errors
/// What would do, in one line.
pub fn check_level(directives: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(directives).map_err(|_| {
        format!("{directives:?} is no level; write error, warn, info, debug or trace, or pairs such as info,longtake_engine=debug")
    })
}
