//! The way to a server: the named one, the one that has our data directory, the one on the default address, or ourselves.
//!
//! A command that has become the server serves others too, until it is done; those then find or become the next one.

use std::time::Duration;

use longtake_core::time::Clock;
use serde_json::Value;
use tokio::net::TcpListener;

use super::CliError;
use super::client::{CallError, Client, Request};
use crate::clock::SystemClock;
use crate::config::{Config, Role};
use crate::wiring::{self, ADMIN_KEY_FILE, Locked, Running, StartError};

/// Between two looks for a server that is about to start or to stop.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Looks, before another process that has the data directory but does not answer is an error.
const MAX_LOOKS: u32 = 600;
/// How long a request is repeated while no server answers.
const SEND_LIMIT: Duration = Duration::from_secs(60);
/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(3);

/// A server that was found, or that we are.
pub(crate) struct Link {
    config: Config,
    client: Client,
    running: Option<Running>,
}

/// Waits.
pub(crate) async fn pause(duration: Duration) {
    SystemClock.sleep(duration).await;
}

impl Link {
    /// Finds a server, or becomes one.
    pub(crate) async fn find(config: Config) -> Result<Self, CliError> {
        let (client, running) = look(&config).await?;
        Ok(Self { config, client, running })
    }

    /// The server of the moment.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Whether this process is the server.
    pub(crate) const fn is_ours(&self) -> bool {
        self.running.is_some()
    }

    /// After a broken connection: the same server if it is there, else another, else ourselves.
    pub(crate) async fn again(&mut self) -> Result<(), CliError> {
        if self.running.is_some() || self.config.server_url.is_some() {
            return Ok(());
        }
        (self.client, self.running) = look(&self.config).await?;
        Ok(())
    }

    /// Sends a request; what may be repeated is repeated while no server answers, for a minute.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<Value, CliError> {
        let began = SystemClock.monotonic();
        let mut wait = LOOK_PAUSE;
        loop {
            let error = match self.client.send(request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_over = SystemClock.monotonic().saturating_sub(began) >= SEND_LIMIT;
            let asked = match &error {
                CallError::Refused { .. } => return Err(error.into()),
                _ if !request.is_repeatable => return Err(error.into()),
                CallError::Unreachable(_) => wait,
                CallError::Busy(_, asked) => *asked,
            };
            if is_over {
                return Err(error.into());
            }
            pause(asked.min(SEND_LIMIT)).await;
            wait = (wait * 2).min(MAX_PAUSE);
            self.again().await?;
        }
    }

    /// Stops the server if it is ours. Its jobs go on at the next start.
    pub(crate) async fn close(self) {
        if let Some(running) = self.running {
            running.stop().await;
        }
    }
}

/// The key of a data directory: `LONGTAKE_API_KEY`, else the admin key.
fn key(config: &Config) -> Option<String> {
    if let Some(key) = &config.api_key {
        return Some(key.clone());
    }
    if config.general.admin_key.is_some() {
        return wiring::admin_key(config).ok();
    }
    let file = std::fs::read_to_string(config.general.data_dir.join(ADMIN_KEY_FILE)).ok()?;
    Some(file.trim().to_owned()).filter(|key| !key.is_empty())
}

async fn look(config: &Config) -> Result<(Client, Option<Running>), CliError> {
    if let Some(url) = &config.server_url {
        return Ok((Client::new(url, key(config).as_deref())?, None));
    }
    let mut last = None;
    for _ in 0..MAX_LOOKS {
        // Not made by looking: a server elsewhere may be all that is needed.
        let locked = if config.general.data_dir.exists() { Some(wiring::lock(config)) } else { None };
        if let Some(Err(StartError::Held { holder, .. })) = &locked {
            if let Some(address) = holder.address {
                let client = Client::new(&format!("http://{address}"), key(config).as_deref())?;
                if client.is_longtake().await {
                    return Ok((client, None));
                }
            }
            // It is about to listen, or about to end.
            last = locked.and_then(Result::err);
            pause(LOOK_PAUSE).await;
            continue;
        }
        if let Some(client) = on_default_address(config).await? {
            return Ok((client, None));
        }
        let locked = match locked {
            Some(locked) => locked,
            None => wiring::lock(config),
        };
        match locked {
            Ok(locked) => return become_server(config, locked).await,
            Err(error @ StartError::Held { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
        pause(LOOK_PAUSE).await;
    }
    Err(last.map_or_else(|| CliError::failed("no server was found and none could be started"), CliError::from))
}

/// A server on the configured address that takes our key.
async fn on_default_address(config: &Config) -> Result<Option<Client>, CliError> {
    let listen = config.general.listen;
    if listen.port() == 0 {
        return Ok(None);
    }
    let ip = if listen.ip().is_unspecified() { std::net::Ipv4Addr::LOCALHOST.into() } else { listen.ip() };
    let address = std::net::SocketAddr::new(ip, listen.port());
    let client = Client::new(&format!("http://{address}"), key(config).as_deref())?;
    if !client.is_longtake().await {
        return Ok(None);
    }
    match client.takes_the_key().await {
        Ok(true) => Ok(Some(client)),
        // Someone else's server; the data directory that was named is what counts.
        Ok(false) if config.data_dir_was_named => Ok(None),
        Ok(false) => Err(CliError::Failed(format!(
            "the server at {} does not take our key; set LONGTAKE_API_KEY to one of its keys, or name a --data-dir of your own",
            client.address()
        ))),
        Err(_) => Ok(None),
    }
}

async fn become_server(config: &Config, locked: Locked) -> Result<(Client, Option<Running>), CliError> {
    let listener = match TcpListener::bind(config.general.listen).await {
        Ok(listener) if listener.local_addr().is_ok_and(|address| address.ip().is_loopback()) => listener,
        // Taken by someone else, or open to others, which nobody asked for here.
        _ => TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(|error| CliError::failed(format!("127.0.0.1: no port is free: {error}")))?,
    };
    // Whatever this machine's server does, here someone waits for all of it, and no proxy for the end.
    let mut ours = config.clone();
    ours.general.role = Role::All;
    ours.server.drain_secs = 0;
    let running = wiring::start_locked(locked, ours, listener).await?;
    let url = format!("http://{}", running.address);
    if let Some(key) = &config.api_key {
        let client = Client::new(&url, Some(key))?;
        if matches!(client.takes_the_key().await, Ok(true)) {
            return Ok((client, Some(running)));
        }
    }
    Ok((Client::new(&url, Some(&running.admin_key))?, Some(running)))
}
