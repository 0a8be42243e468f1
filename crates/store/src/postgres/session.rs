//! One connection in use: statements sent together in one round trip, transactions, and what an error says about them.

use std::future::Future;
use std::time::Duration;

use longtake_core::BoxError;
use longtake_core::id::Random;
use longtake_core::store::StoreError;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::pool::Lease;
use super::saves::Save;
use crate::rows::Unreadable;

/// Repetitions of a call that the database rolled back because of others.
pub(super) const MAX_REPEATS: u32 = 3;
/// Longest pause before a repetition, in microseconds.
const PAUSE_US: u64 = 20_000;

/// Values of one statement.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database said no, or could not be reached: nothing happened.
    Database(tokio_postgres::Error),
    /// The connection broke when the database had been told to commit.
    Unknown,
    /// A row that the domain cannot read.
    Unreadable(Unreadable),
    /// There is no connection.
    Unavailable(BoxError),
    /// What the call had found was removed by retention before it could be read.
    Removed,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Unreadable> for Failure {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error)
    }
}

impl Failure {
    /// Rolled back because of what others did at the same time, or never begun: the same call may do better.
    pub fn is_passing(&self) -> bool {
        let Self::Database(error) = self else { return matches!(self, Self::Removed) };
        match error.code() {
            Some(code) => {
                let others = [
                    SqlState::T_R_SERIALIZATION_FAILURE,
                    SqlState::T_R_DEADLOCK_DETECTED,
                    SqlState::LOCK_NOT_AVAILABLE,
                    SqlState::QUERY_CANCELED,
                    SqlState::ADMIN_SHUTDOWN,
                    SqlState::CRASH_SHUTDOWN,
                ];
                others.contains(code) || self.violates("attempt_provider_job")
            }
            None => error.is_closed(),
        }
    }

    /// A row with this key is there already.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION))
    }

    /// Two calls at once gave one provider job to two attempts; the second learns of the first when it is repeated.
    fn violates(&self, constraint: &str) -> bool {
        let Self::Database(error) = self else { return false };
        error.as_db_error().is_some_and(|error| error.constraint() == Some(constraint))
    }

    fn is_full(&self) -> bool {
        matches!(self, Self::Database(error) if error.code() == Some(&SqlState::DISK_FULL))
    }

    /// What a create says: a full disk is told apart.
    pub fn of_create(self) -> StoreError {
        if self.is_full() { StoreError::Full } else { self.into() }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unknown => Self::CommitUnknown,
            Failure::Database(error) => Self::Failed(error.into()),
            Failure::Unreadable(error) => Self::Failed(error.into()),
            Failure::Unavailable(error) => Self::Failed(error),
            Failure::Removed => Self::Failed("it was removed meanwhile".into()),
        }
    }
}

/// Waits a little, so that two calls that hinder each other do not meet again.
pub(super) async fn pause(random: &dyn Random) {
    let pause = Duration::from_micros(random.below(PAUSE_US));
    #[expect(clippy::disallowed_methods, reason = "what is waited for is a database in the real world")]
    tokio::time::sleep(pause).await;
}

/// Repeats a call that the database rolled back because of others.
macro_rules! repeated {
    ($store:expr, $call:expr) => {{
        let mut repeats = 0;
        loop {
            match $call.await {
                Err(failure) if repeats < $crate::postgres::session::MAX_REPEATS && failure.is_passing() => {
                    repeats += 1;
                    tracing::debug!(?failure, repeats, "a call of the store is repeated");
                    $crate::postgres::session::pause($store.random.as_ref()).await;
                }
                answer => break answer,
            }
        }
    }};
}
pub(super) use repeated;

/// A test counts the statements of a call.
#[cfg(feature = "testing")]
use crate::statements::count;

#[cfg(not(feature = "testing"))]
const fn count() {}

/// A connection that one call uses.
pub(super) struct Session {
    lease: Lease,
}

impl Session {
    /// With its statements prepared, so that they can be sent together.
    pub async fn new(lease: Lease, queries: &[&'static str]) -> Result<Self, Failure> {
        lease.prepare(queries).await?;
        Ok(Self { lease })
    }

    /// Rows of one statement. Sent when first polled: statements that are polled one after the other run in that order.
    pub async fn rows(&self, query: &'static str, values: Values<'_>) -> Result<Vec<Row>, Failure> {
        let statement = self.lease.statement(query)?;
        count();
        Ok(self.lease.client().query(&statement, values).await?)
    }

    /// The first row of one statement.
    pub async fn row(&self, query: &'static str, values: Values<'_>) -> Result<Option<Row>, Failure> {
        Ok(self.rows(query, values).await?.into_iter().next())
    }

    /// Runs one statement. How many rows it changed.
    pub async fn run(&self, query: &'static str, values: Values<'_>) -> Result<u64, Failure> {
        let statement = self.lease.statement(query)?;
        count();
        Ok(self.lease.client().execute(&statement, values).await?)
    }

    /// One statement that is a transaction by itself: without an answer nobody knows whether it happened.
    pub async fn run_alone(&self, query: &'static str, values: Values<'_>) -> Result<Vec<Row>, Failure> {
        self.rows(query, values).await.map_err(unknown_without_an_answer)
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<(), Failure> {
        self.begin_as("begin").await
    }

    /// Begins a transaction with options.
    pub async fn begin_as(&self, begin: &'static str) -> Result<(), Failure> {
        self.lease.set_in_transaction(true);
        count();
        Ok(self.lease.client().batch_execute(begin).await?)
    }

    /// Runs what has no values and no rows.
    pub async fn command(&self, command: &'static str) -> Result<(), Failure> {
        count();
        Ok(self.lease.client().batch_execute(command).await?)
    }

    /// Runs commands as a transaction of their own.
    pub async fn alone(&self, commands: &str) -> Result<(), Failure> {
        self.lease.set_in_transaction(true);
        let done = self.lease.client().batch_execute(&format!("begin; {commands}; commit")).await;
        match done {
            Ok(()) => self.lease.set_in_transaction(false),
            Err(_) => self.rollback().await,
        }
        Ok(done?)
    }

    /// Commits what was sent before. Sent together with it: a statement before it that failed makes it a rollback, so its
    /// own success says nothing yet.
    async fn commit(&self) -> Result<(), Failure> {
        count();
        let answer = self.lease.client().batch_execute("commit").await;
        if answer.is_ok() {
            self.lease.set_in_transaction(false);
        }
        answer.map_err(|error| match error.as_db_error() {
            Some(refused) if is_refusal(refused.code()) => Failure::Database(error),
            _ => Failure::Unknown,
        })
    }

    /// Undoes everything. A connection on which that fails is not used again.
    pub async fn rollback(&self) {
        count();
        if self.lease.client().batch_execute("rollback").await.is_ok() {
            self.lease.set_in_transaction(false);
        }
    }

    /// Sends a last statement's future and the COMMIT behind it in one round trip.
    pub async fn commit_with<T>(&self, last: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let (last, committed) = futures::join!(last, self.commit());
        let last = last.map_err(unknown_without_an_answer)?;
        committed.map(|()| last)
    }

    /// Saves and commits in one round trip.
    pub async fn save(&self, saves: Vec<Save>) -> Result<(), Failure> {
        if saves.is_empty() {
            // Locks alone need no disk.
            self.rollback().await;
            return Ok(());
        }
        // Before anything is sent: half of the saves and a COMMIT would be worse than none.
        for save in &saves {
            self.lease.statement(save.query)?;
        }
        let all = futures::future::join_all(saves.iter().map(|save| self.save_one(save)));
        let saved = async { all.await.into_iter().collect::<Result<Vec<()>, Failure>>() };
        self.commit_with(saved).await.map(drop)
    }

    async fn save_one(&self, save: &Save) -> Result<(), Failure> {
        let values: Vec<&(dyn ToSql + Sync)> =
            save.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
        self.run(save.query, &values).await.map(drop)
    }
}

/// The database answered that it did not commit. Everything that ends a session may come after the commit itself.
fn is_refusal(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    matches!(class, "23" | "25" | "40" | "53" | "55") && *code != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
}

/// The COMMIT was on its way when the connection broke.
fn unknown_without_an_answer(failure: Failure) -> Failure {
    match failure {
        Failure::Database(error) if error.as_db_error().is_none() && error.is_closed() => Failure::Unknown,
        Failure::Database(error) if error.as_db_error().is_none() => {
            tracing::warn!(%error, "a commit without an answer");
            Failure::Unknown
        }
        other => other,
    }
}
