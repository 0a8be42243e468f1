//! `longtake serve`: the server.

use clap::Args;
use tokio::net::TcpListener;

use super::interrupt::Interrupt;
use super::output;
use super::{CliError, Global};
use crate::config::Config;
use crate::wiring::{self, ADMIN_KEY_FILE};

/// Run the server
///
/// SIGTERM or Ctrl-C stops it in order: work is handed back and goes on at the next start. A second one ends it at once;
/// nothing is lost either way.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longtake serve\n  longtake serve --listen 127.0.0.1:8080 --data-dir /var/lib/longtake\n  longtake serve --config /etc/longtake.toml\n  longtake serve --database postgres://longtake@db/longtake --role worker\n\nThen:\n  curl -H \"Authorization: Bearer $(cat longtake-data/admin.key)\" \\\n    -F prompt=\"a lighthouse in a storm\" http://127.0.0.1:7373/v1/videos"
)]
pub(crate) struct Arguments {
    /// Address and port [default: 127.0.0.1:7373]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// What this process does: all, or with PostgreSQL api or worker [default: all]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Let everyone act as admin, without a key; refused on an address that others can reach
    #[arg(long)]
    insecure_no_auth: bool,
}

pub(crate) async fn run(global: Global, arguments: Arguments) -> Result<(), CliError> {
    let mut flags: Vec<(&'static str, &'static [&'static str], String)> = Vec::new();
    if let Some(listen) = arguments.listen {
        flags.push(("--listen", &["listen"], listen));
    }
    if let Some(role) = arguments.role {
        flags.push(("--role", &["role"], role));
    }
    if arguments.insecure_no_auth {
        flags.push(("--insecure-no-auth", &["server", "insecure_no_auth"], "true".to_owned()));
    }
    if global.server.is_some() {
        return Err(CliError::Usage("--server: serve is the server; use --listen to say where".to_owned()));
    }
    let config = global.config_with(flags)?;
    crate::logging::start(&config.log, "info").map_err(CliError::Failed)?;
    let interrupt = Interrupt::listen()?;
    let (data_dir, own_key) = (config.general.data_dir.clone(), config.general.admin_key.is_none());
    let locked = wiring::lock(&config)?;
    let listener = bind(&config).await?;
    warn(&config);
    let running = wiring::start_locked(locked, config, listener).await?;
    let key = match own_key {
        true => format!("admin key: {}", data_dir.join(ADMIN_KEY_FILE).display()),
        false => "admin key: as configured".to_owned(),
    };
    output::line(&format!(
        "longtake {} listening on http://{} (data: {}, {key})",
        env!("CARGO_PKG_VERSION"),
        running.address,
        data_dir.display()
    ));
    interrupt.asked().await;
    tracing::info!("stopping: unfinished videos go on at the next start");
    running.stop().await;
    Ok(())
}

async fn bind(config: &Config) -> Result<TcpListener, CliError> {
    let listen = config.general.listen;
    TcpListener::bind(listen).await.map_err(|error| {
        let problem = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("{listen} is in use by another process; stop it, or choose another address")
            }
            std::io::ErrorKind::PermissionDenied => format!("{listen} needs more rights; choose a port above 1023"),
            _ => format!("{listen}: {error}; choose an address of this machine"),
        };
        config.error(&["listen"], &problem).into()
    })
}

fn warn(config: &Config) {
    if config.server.insecure_no_auth {
        tracing::warn!("everyone who reaches this address acts as admin");
    }
}
