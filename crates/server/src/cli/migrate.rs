//! `longtake migrate`: brings the database to this version's schema.

use clap::Args;

use super::output;
use super::{CliError, Global};
use crate::wiring;

/// Bring the database to this version's schema
///
/// `serve` does the same at its start; this is for doing it beforehand. With SQLite the server must be stopped; with
/// PostgreSQL the processes of the old version go on meanwhile.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longtake migrate\n  longtake migrate --data-dir /var/lib/longtake\n  longtake migrate --database postgres://longtake@db/longtake"
)]
pub(crate) struct Arguments {}

pub(crate) async fn run(global: Global, _: Arguments) -> Result<(), CliError> {
    let config = global.load()?;
    let locked = wiring::lock(&config)?;
    let opened = wiring::open(&config, &locked).await?;
    opened.store.ready().await.map_err(|error| CliError::Failed(format!("the database does not work: {error}")))?;
    output::line(&format!("{} has the schema of longtake {}", config.database()?.shown(), env!("CARGO_PKG_VERSION")));
    Ok(())
}
