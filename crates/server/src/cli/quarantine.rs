//! `longtake quarantine`: says that the database may lack its last commits.

use clap::Args;

use super::output;
use super::{CliError, Global};
use crate::wiring;

/// Say that the database was restored from a backup and may lack its last commits
///
/// Videos that are queued now, and of which nothing younger is known, are then found out before they are submitted: looked
/// up at the provider, sent again under the same key, or held for you. Run it before the first start on the backup.
/// PostgreSQL notices restored backups and failovers by itself.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longtake quarantine --yes\n  longtake quarantine --data-dir /var/lib/longtake --yes"
)]
pub(crate) struct Arguments {
    /// You are sure
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(global: Global, arguments: Arguments) -> Result<(), CliError> {
    if !arguments.yes {
        let problem =
            "videos that are queued now will wait until it is known that no provider has them; repeat with --yes";
        return Err(CliError::Usage(problem.to_owned()));
    }
    let config = global.load()?;
    let locked = wiring::lock(&config)?;
    let opened = wiring::open(&config, &locked).await?;
    let noted = opened.store.set_quarantine().await;
    noted.map_err(|error| CliError::Failed(format!("it cannot be noted: {error}")))?;
    output::line("noted: videos queued until now are found out before they are submitted");
    Ok(())
}
