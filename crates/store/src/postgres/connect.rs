//! One connection to PostgreSQL: where it is, how a session is set up, and which servers are refused.
//!
//! A [`Target`] is a URL that was understood once; [`Target::dial`] gives a checked session. Errors show the URL without
//! user and password. Absent: which connection a call gets (`pool`).

use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::{Config, Host, SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, Socket};

use super::tls::{self, Connector, Verify};
use crate::OpenError;

/// What runs a connection: to be polled until it ends.
pub(super) type Driver = tokio_postgres::Connection<Socket, tls::Stream<Socket>>;

/// Oldest server that is known to work.
const OLDEST_SERVER: u32 = 14;
/// Bound of connecting to one host, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Silence after which the system asks whether the other side is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// Time that sent bytes may stay unacknowledged before the connection is given up (Linux).
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);
/// The default of tokio-postgres, which nobody means when a URL does not say.
const UNSET_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// Settings of every session. `synchronous_commit` may be stronger than `on`, never weaker: an acknowledged commit is on
/// disk, on that of the synchronous standby too where there is one. Calls rely on READ COMMITTED. Just-in-time compiling
/// costs more than our short statements.
/// Plans are made once and kept, often while tables are small; every statement has its index, so others are never wanted.
const SESSION: &str = "\
set idle_in_transaction_session_timeout = '5s'; set statement_timeout = '10s'; set lock_timeout = '2s';
set default_transaction_isolation = 'read committed'; set client_min_messages = warning; set jit = off;
set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off;
select set_config('synchronous_commit',
    case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end, false);
select pg_is_in_recovery(), current_setting('server_version_num'), current_setting('fsync'), current_setting('full_page_writes')";

/// Where a database is.
#[derive(Clone)]
pub(super) struct Target {
    config: Config,
    connector: Connector,
    shown: String,
}

impl Target {
    /// Understands `postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?PARAMETER=VALUE`, or `postgresql://`.
    ///
    /// Parameters are those of tokio-postgres and `sslrootcert=PATH`, a file with the certificates that are trusted instead
    /// of the system's. `sslmode`: `disable`; `prefer`, the default, encrypts where the server can, without asking who it is
    /// (as libpq does); `require`, `verify-ca` and `verify-full` all verify certificate and host name, which is more than
    /// libpq's `require` does. A `sslrootcert` without a mode means `verify-full`.
    ///
    /// # Errors
    /// `DatabaseUrl`, and `Io` where the certificates cannot be read.
    pub fn parse(url: &str) -> Result<Self, OpenError> {
        let refused = |problem: String| OpenError::DatabaseUrl { problem };
        let (rest, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut roots, mut others) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(decoded(value)),
                _ => others.push(pair),
            }
        }
        let ours = if others.is_empty() { rest.to_owned() } else { format!("{rest}?{}", others.join("&")) };
        let mut config = Config::from_str(&ours).map_err(|error| refused(error.to_string()))?;
        if config.get_hosts().is_empty() {
            return Err(refused("it names no host".to_owned()));
        }
        let (ssl_mode, verify) = match (mode, roots) {
            (Some("disable"), _) => (SslMode::Disable, Verify::Nothing),
            (None | Some("prefer" | "allow"), None) => (SslMode::Prefer, Verify::Nothing),
            (Some("require" | "verify-ca" | "verify-full"), None) => (SslMode::Require, Verify::System),
            (None | Some("prefer" | "allow" | "require" | "verify-ca" | "verify-full"), Some(path)) => {
                (SslMode::Require, Verify::File(path.into()))
            }
            (Some(other), _) => {
                return Err(refused(format!(
                    "sslmode {other:?} is none of disable, prefer, require, verify-ca, verify-full"
                )));
            }
        };
        config.ssl_mode(ssl_mode);
        fill_in(&mut config);
        Ok(Self { shown: shown(&config), connector: Connector::new(&verify)?, config })
    }

    /// The URL without user and password.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// A session, set up and checked, and what must be polled for it.
    ///
    /// # Errors
    /// `Unreachable`, `NotPrimary`, `ServerTooOld`, `UnsafeSetting`.
    pub async fn dial(&self) -> Result<(Client, tokio::task::JoinHandle<()>), OpenError> {
        self.dial_with(|driver| async { drop(driver.await) }).await
    }

    /// The same, where the caller drives the connection: `drive` runs on a task of its own until the connection ends.
    pub async fn dial_with<F>(
        &self,
        drive: impl FnOnce(Driver) -> F,
    ) -> Result<(Client, tokio::task::JoinHandle<()>), OpenError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let unreachable = |source| OpenError::Unreachable { url: self.shown.clone(), source };
        let (client, driver) = self.config.connect(self.connector.clone()).await.map_err(unreachable)?;
        let task = tokio::spawn(drive(driver));
        let answer = client.simple_query(SESSION).await.map_err(unreachable)?;
        self.check(&answer)?;
        Ok((client, task))
    }

    fn check(&self, answer: &[SimpleQueryMessage]) -> Result<(), OpenError> {
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) if row.len() == 4 => Some(row),
            _ => None,
        });
        let Some(row) = rows.last() else { return Ok(()) };
        let value = |place: usize| row.get(place).unwrap_or_default();
        let version = value(1).parse::<u32>().unwrap_or(0) / 10_000;
        if version < OLDEST_SERVER {
            return Err(OpenError::ServerTooOld { version, oldest: OLDEST_SERVER });
        }
        for (place, name) in [(2, "fsync"), (3, "full_page_writes")] {
            if value(place) != "on" {
                return Err(OpenError::UnsafeSetting { name });
            }
        }
        if value(0) != "f" {
            return Err(OpenError::NotPrimary { url: self.shown.clone() });
        }
        Ok(())
    }
}

/// Whether the same try may succeed later: a server that restarts, a standby that is being promoted.
pub(super) fn is_passing(error: &OpenError) -> bool {
    match error {
        OpenError::NotPrimary { .. } => true,
        OpenError::Unreachable { source, .. } => source.code().is_none_or(|code| {
            let denied = ["28", "3D"].iter().any(|class| code.code().starts_with(class));
            !denied && *code != SqlState::INSUFFICIENT_PRIVILEGE
        }),
        _ => false,
    }
}

/// What the URL leaves open.
fn fill_in(config: &mut Config) {
    if config.get_application_name().is_none() {
        config.application_name("longtake");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_keepalives_idle() == UNSET_KEEPALIVE_IDLE {
        config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_INTERVAL);
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(UNACKNOWLEDGED);
    }
    // Of several hosts the one that accepts writes is wanted, whichever that is today.
    if config.get_hosts().len() > 1 {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
}

fn shown(config: &Config) -> String {
    let ports = config.get_ports();
    let host = |(place, host): (usize, &Host)| {
        let port = ports.get(place).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    };
    let hosts: Vec<String> = config.get_hosts().iter().enumerate().map(host).collect();
    format!("postgres://{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

/// The value of a parameter with its `%xx` replaced; what is none stays as it is.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.filter(|_| first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        match Target::parse(url) {
            Ok(target) => panic!("{} was understood", target.shown()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn errors_and_names_show_no_password() {
        let target = Target::parse("postgresql://me:secret@one:5433,two/jobs?application_name=x").unwrap();
        assert_eq!(target.shown(), "postgres://one:5433,two:5432/jobs");
        let bad = [
            "postgres://me:secret@db/x?sslmode=sometimes",
            "postgres://me:secret@db/x?no_such_parameter=1",
            "postgres://me:secret@db:port/x",
            "postgres:///x",
        ];
        for url in bad {
            assert!(!problem(url).contains("secret"), "{}", problem(url));
        }
        assert!(problem(bad[0]).contains("sslmode \"sometimes\""));
    }

    #[test]
    fn what_the_url_says_is_kept() {
        let target =
            Target::parse("postgres://db/x?application_name=mine&connect_timeout=9&keepalives_idle=60").unwrap();
        assert_eq!(target.config.get_application_name(), Some("mine"));
        assert_eq!(target.config.get_connect_timeout(), Some(&Duration::from_secs(9)));
        assert_eq!(target.config.get_keepalives_idle(), Duration::from_secs(60));
        assert_eq!(target.config.get_target_session_attrs(), TargetSessionAttrs::Any);
        let two = Target::parse("postgres://one,two/x").unwrap();
        assert_eq!(two.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(two.config.get_application_name(), Some("longtake"));
    }

    #[test]
    fn percent_codes_are_read() {
        assert_eq!(decoded("%2Fetc%2fca%20s.pem"), "/etc/ca s.pem");
        assert_eq!(decoded("100%"), "100%");
    }
}
