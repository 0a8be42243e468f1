//! Connections, a fixed number of them, and who waits for one.
//!
//! Callers queue in order of arrival, for a bounded time. A broken connection is replaced; one whose transaction was left
//! open, since its call was dropped or failed half way, is closed and never used again; one that a call keeps for too long
//! (the server is frozen, the network swallows packets) is cut, so that the call ends with an error.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{AsyncMessage, Client, Statement};

use super::connect::{Driver, Target, is_passing};
use super::history;
use super::session::Failure;
use crate::{OpenError, PostgresTuning};

/// Longest time that one call keeps a connection: the server's own bound of a statement, and then some.
const LONGEST_LEASE: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Pauses between two tries to connect: doubling, from this to that.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Connections to one database.
pub(super) struct Pool {
    target: Target,
    size: usize,
    acquire_timeout: Duration,
    longest_lease: Duration,
    permits: Arc<Semaphore>,
    waiting: AtomicU64,
    idle: Arc<Mutex<Vec<Connection>>>,
    /// The schema is there, so new connections can be asked which history they see.
    has_schema: AtomicBool,
    failover_loses_nothing: bool,
}

struct Connection {
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
    in_transaction: AtomicBool,
    lease: Arc<LeaseClock>,
}

/// Since when a connection is in use, read by the task that drives it.
struct LeaseClock {
    made: Instant,
    /// Microseconds after `made`, plus one; 0 while it is idle.
    since: AtomicU64,
}

/// A connection that one call uses; dropped, it goes back.
pub(super) struct Lease {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// Makes the first connection.
    ///
    /// # Errors
    /// The URL, or what the server says or is. A server that does not answer is tried until `acquire_timeout` has passed.
    pub async fn open(url: &str, tuning: &PostgresTuning) -> Result<Self, OpenError> {
        Self::open_with(url, tuning, LONGEST_LEASE).await
    }

    async fn open_with(url: &str, tuning: &PostgresTuning, longest_lease: Duration) -> Result<Self, OpenError> {
        let size = tuning.connections.max(1);
        let pool = Self {
            target: Target::parse(url)?,
            size,
            acquire_timeout: tuning.acquire_timeout,
            longest_lease,
            permits: Arc::new(Semaphore::new(size)),
            waiting: AtomicU64::new(0),
            idle: Arc::default(),
            has_schema: AtomicBool::new(false),
            failover_loses_nothing: tuning.failover_loses_nothing,
        };
        let first = pool.connect_until(Instant::now() + pool.acquire_timeout).await?;
        first.lease.end();
        pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(first);
        Ok(pool)
    }

    /// Where its connections go.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// From now on every new connection says whether the database is the one it was (rule R12).
    ///
    /// # Errors
    /// Where this one does not answer.
    pub async fn watch_history(&self) -> Result<(), Failure> {
        let lease = self.lease().await?;
        history::note(lease.client(), self.failover_loses_nothing).await.map_err(Failure::Unavailable)?;
        self.has_schema.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// A connection, after everyone who asked before.
    ///
    /// # Errors
    /// `Unavailable` when none is free, or none can be made, within `acquire_timeout`.
    pub async fn lease(&self) -> Result<Lease, Failure> {
        let deadline = Instant::now() + self.acquire_timeout;
        let waiting = Waiting::begin(&self.waiting);
        let permit = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await;
        drop(waiting);
        let permit = permit.map_err(|_| Failure::Unavailable(self.exhausted().into()))?;
        let permit = permit.map_err(|closed| Failure::Unavailable(closed.into()))?;
        let connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connect_until(deadline).await.map_err(|error| Failure::Unavailable(error.into()))?,
        };
        connection.lease.begin();
        Ok(Lease { connection: Some(connection), idle: Arc::clone(&self.idle), _permit: permit })
    }

    /// Connections in use, and calls that wait for one.
    pub fn in_use(&self) -> (u64, u64) {
        let used = self.size.saturating_sub(self.permits.available_permits());
        (u64::try_from(used).unwrap_or(u64::MAX), self.waiting.load(Ordering::Relaxed))
    }

    fn exhausted(&self) -> String {
        let seconds = self.acquire_timeout.as_secs_f64();
        format!("no free database connection of {} within {seconds} s: raise [database] pool_size", self.size)
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.client.is_closed())
    }

    /// Connects, again and again while that may help.
    async fn connect_until(&self, deadline: Instant) -> Result<Connection, OpenError> {
        let mut pause = FIRST_PAUSE;
        let mut before = None;
        loop {
            // A try that has begun is bounded by `connect_timeout` for each host, and by the session's own.
            let bound = deadline.max(Instant::now() + FIRST_PAUSE);
            let error = match timeout_at(bound, self.connect()).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => error,
                // What an earlier try was told says more than silence.
                Err(_) => return Err(before.unwrap_or(OpenError::NoAnswer { url: self.target.shown().to_owned() })),
            };
            if !is_passing(&error) || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::warn!(%error, "the database is not there, next try in {} ms", pause.as_millis());
            wait(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
            before = Some(error);
        }
    }

    async fn connect(&self) -> Result<Connection, OpenError> {
        let lease = Arc::new(LeaseClock { made: Instant::now(), since: AtomicU64::new(0) });
        // Ended by a frozen server as any other: connecting counts as a use.
        lease.begin();
        let (clock, longest) = (Arc::clone(&lease), self.longest_lease);
        let (client, _task) = self.target.dial_with(|driver| drive(driver, clock, longest)).await?;
        if self.has_schema.load(Ordering::SeqCst) {
            let noted = history::note(&client, self.failover_loses_nothing).await;
            noted.map_err(|error| OpenError::Postgres(format!("its history cannot be told: {error}")))?;
        }
        Ok(Connection { client, statements: Mutex::default(), in_transaction: AtomicBool::new(false), lease })
    }
}

/// Counts a call that waits, also where its future is dropped.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lease {
    fn connection(&self) -> &Connection {
        #[expect(clippy::unwrap_used, reason = "taken by drop alone")]
        self.connection.as_ref().unwrap()
    }

    /// The connection itself. What begins a transaction on it says so first: [`Lease::set_in_transaction`].
    pub fn client(&self) -> &Client {
        &self.connection().client
    }

    /// Prepares what this connection has not prepared yet, all at once.
    ///
    /// # Errors
    /// What the server says to one of them.
    pub async fn prepare(&self, queries: &[&'static str]) -> Result<(), Failure> {
        let missing: Vec<&'static str> = {
            let statements = self.statements();
            queries.iter().copied().filter(|query| !statements.contains_key(query)).collect()
        };
        let prepared = futures::future::try_join_all(missing.iter().map(|query| self.client().prepare(query))).await?;
        self.statements().extend(missing.into_iter().zip(prepared));
        Ok(())
    }

    /// A statement that was prepared.
    ///
    /// # Errors
    /// `Unavailable` where it was not: a mistake of the caller.
    pub fn statement(&self, query: &'static str) -> Result<Statement, Failure> {
        let known = self.statements().get(query).cloned();
        known.ok_or_else(|| Failure::Unavailable(format!("not prepared: {query}").into()))
    }

    /// Set before BEGIN is sent, cleared when the server has answered COMMIT or ROLLBACK: in between the connection is
    /// nobody else's.
    pub fn set_in_transaction(&self, is: bool) {
        self.connection().in_transaction.store(is, Ordering::SeqCst);
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Statement>> {
        self.connection().statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if connection.client.is_closed() {
            return;
        }
        if connection.in_transaction.load(Ordering::SeqCst) {
            tracing::debug!("a transaction was left open; its connection is closed");
            return;
        }
        connection.lease.end();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The farewell has a bound as well.
        self.lease.begin();
    }
}

impl LeaseClock {
    fn begin(&self) {
        let since = u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        self.since.store(since + 1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    fn is_over(&self, longest: Duration) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        since != 0 && self.made.elapsed() > Duration::from_micros(since - 1) + longest
    }
}

/// Runs a connection until it ends, or is kept for too long.
async fn drive(mut driver: Driver, lease: Arc<LeaseClock>, longest: Duration) {
    let mut looks = tokio::time::interval(LOOK.min(longest));
    loop {
        let message = tokio::select! {
            message = std::future::poll_fn(|context| driver.poll_message(context)) => message,
            _ = looks.tick() => {
                if lease.is_over(longest) {
                    tracing::warn!("a call kept a database connection for {} s: it is cut", longest.as_secs());
                    return;
                }
                continue;
            }
        };
        match message {
            Some(Ok(AsyncMessage::Notice(notice))) => tracing::debug!(%notice, "the database remarks"),
            Some(Ok(_)) => {}
            Some(Err(error)) => return tracing::debug!(%error, "a database connection broke"),
            None => return,
        }
    }
}

async fn wait(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "what is waited for is a database in the real world")]
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests;
