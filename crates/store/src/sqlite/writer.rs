//! The writer: one thread, one connection, which alone writes and checkpoints.
//!
//! It takes everything that is queued, runs each operation in one transaction (in a savepoint where it can fail), commits,
//! and then answers all: the fsync before is the window in which the next batch gathers. Fail-stop: once a commit, a sync or other I/O
//! failed, all of the batch hear `CommitUnknown`, the process is told to end, and nothing is written any more.
//! Absent: retries. What is durable then is read from the disk by the next process.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use longtake_core::failpoint;
use longtake_core::store::{CommitListener, StoreError};
use longtake_core::time::Clock;
use rusqlite::{Connection, Error, ErrorCode, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::change::{Change, News};
use super::checkpoint::Checkpoints;
use super::sql;
use crate::Fatal;

/// Operations of one transaction.
const MAX_BATCH: usize = 512;
/// Operations that wait for the writer; the callers of more wait for room.
const MAX_QUEUED: usize = 8_192;
/// Without an operation for this long the writer counts as idle.
const IDLE: Duration = Duration::from_secs(1);

/// What an operation is, for the crash points and for who hears that there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Creates jobs.
    Create,
    /// Opens attempts.
    Open,
    /// Records evidence.
    Evidence,
    /// Anything else.
    Other,
}

/// Something to be written, with the caller that waits for it.
trait Operation: Send {
    fn run(&mut self, change: &mut Change<'_>) -> Result<()>;
    fn answer(self: Box<Self>, failure: Option<StoreError>);
}

struct Waiting<T, F> {
    work: Option<F>,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Operation for Waiting<T, F>
where
    T: Send,
    F: FnOnce(&mut Change<'_>) -> Result<T> + Send,
{
    fn run(&mut self, change: &mut Change<'_>) -> Result<()> {
        if let Some(work) = self.work.take() {
            self.done = Some(work(change)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, failure: Option<StoreError>) {
        let answer = match (failure, self.done) {
            (Some(failure), _) => Err(failure),
            (None, Some(done)) => Ok(done),
            (None, None) => Err(StoreError::Failed("the operation was not run".into())),
        };
        // The caller may have gone; what is written stays written.
        drop(self.reply.send(answer));
    }
}

struct Queued {
    kind: Kind,
    operation: Box<dyn Operation>,
    _room: OwnedSemaphorePermit,
}

/// What the writer shares with its callers.
#[derive(Clone)]
pub(super) struct Shared {
    /// The time of operations.
    pub clock: Arc<dyn Clock>,
    /// Ends the process.
    pub fatal: Fatal,
    /// Told after each commit.
    pub listeners: Arc<Mutex<Vec<CommitListener>>>,
    /// Nothing is written any more.
    pub stopped: Arc<AtomicBool>,
}

/// The callers' side. Dropped, it lets the thread finish what is queued and waits for it.
pub(super) struct Writer {
    queue: Option<Sender<Queued>>,
    room: Arc<Semaphore>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on a connection that nobody else writes through.
    pub fn start(connection: Connection, wal: PathBuf, shared: Shared) -> std::io::Result<Self> {
        let (queue, operations) = channel();
        let stopped = Arc::clone(&shared.stopped);
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            let guard = PanicGuard(shared.clone());
            let checkpoints = Checkpoints::new(wal, connection.total_changes());
            WriterThread { connection, operations, shared, checkpoints }.run();
            drop(guard);
        })?;
        let room = Arc::new(Semaphore::new(MAX_QUEUED));
        Ok(Self { queue: Some(queue), room, stopped, thread: Some(thread) })
    }

    /// Runs one operation in a transaction and waits until that is durable.
    pub async fn write<T, F>(&self, kind: Kind, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Change<'_>) -> Result<T> + Send + 'static,
    {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|error| StoreError::Failed(error.into()))?;
        if self.stopped.load(Ordering::SeqCst) {
            return Err(refused());
        }
        let (reply, answer) = oneshot::channel();
        let operation = Box::new(Waiting { work: Some(work), done: None, reply });
        let queued = Queued { kind, operation, _room: room };
        match self.queue.as_ref().map(|queue| queue.send(queued)) {
            // Dropped without an answer: the thread ended in the middle of it.
            Some(Ok(())) => answer.await.unwrap_or(Err(StoreError::CommitUnknown)),
            Some(Err(_)) | None => Err(refused()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            // A listener may have held the last handle.
            && thread.thread().id() != std::thread::current().id()
        {
            // What it had to say, it has said through `fatal`.
            drop(thread.join());
        }
    }
}

fn refused() -> StoreError {
    StoreError::Failed("the store stopped after an I/O error; the process must be restarted".into())
}

/// A panic of the thread must not leave a process that looks alive.
struct PanicGuard(Shared);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stopped.store(true, Ordering::SeqCst);
            (self.0.fatal)("the store's writer panicked");
        }
    }
}

/// How a batch ended without a commit.
enum Broken {
    /// Nothing of it happened.
    RolledBack(Error),
    /// Nobody knows what of it happened.
    Unknown(Error),
}

struct WriterThread {
    connection: Connection,
    operations: Receiver<Queued>,
    shared: Shared,
    checkpoints: Checkpoints,
}

impl WriterThread {
    fn run(mut self) {
        loop {
            match self.operations.recv_timeout(IDLE) {
                Ok(first) => {
                    let mut batch = vec![first];
                    batch.extend(self.operations.try_iter().take(MAX_BATCH - 1));
                    self.commit(batch);
                    self.checkpoint(false);
                }
                Err(RecvTimeoutError::Timeout) => self.checkpoint(true),
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
        }
    }

    fn commit(&mut self, mut batch: Vec<Queued>) {
        if self.shared.stopped.load(Ordering::SeqCst) {
            return batch.into_iter().for_each(|queued| queued.operation.answer(Some(refused())));
        }
        let mut news = News::default();
        match self.transact(&mut batch, &mut news) {
            Ok(failures) => {
                crash_points_after(&batch, &news);
                self.tell(&news);
                for (queued, failure) in batch.into_iter().zip(failures) {
                    queued.operation.answer(failure.map(|error| StoreError::Failed(error.into())));
                }
            }
            Err(Broken::RolledBack(error)) => {
                tracing::error!(%error, operations = batch.len(), "a transaction was rolled back");
                let full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
                for queued in batch {
                    let create = queued.kind == Kind::Create;
                    let failure =
                        if full && create { StoreError::Full } else { StoreError::Failed(error.to_string().into()) };
                    queued.operation.answer(Some(failure));
                }
            }
            Err(Broken::Unknown(error)) => {
                self.stop(&error);
                batch.into_iter().for_each(|queued| queued.operation.answer(Some(StoreError::CommitUnknown)));
            }
        }
    }

    /// One transaction; for each operation, why it alone failed.
    fn transact(&self, batch: &mut [Queued], news: &mut News) -> Result<Vec<Option<Error>>, Broken> {
        self.statement("BEGIN IMMEDIATE").map_err(|error| match error.sqlite_error_code() {
            // Another program holds the write lock: a backup, or somebody's shell.
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Broken::RolledBack(error),
            _ => Broken::Unknown(error),
        })?;
        let mut failures = Vec::with_capacity(batch.len());
        for queued in batch.iter_mut() {
            let operation = queued.operation.as_mut();
            // A create looks before it inserts, so nothing but a bug makes it fail alone; a savepoint would copy every
            // page that it touches.
            let failure = match queued.kind {
                Kind::Create => self.run_operation(operation, news).map(|()| None),
                _ => self.in_savepoint(operation, news),
            };
            failures.push(failure.map_err(|error| self.give_up(error))?);
        }
        crash_points_before(batch);
        self.statement("COMMIT").map_err(Broken::Unknown)?;
        Ok(failures)
    }

    /// Runs an operation; what it alone did wrong is undone, and the answer says what it was.
    fn in_savepoint(&self, operation: &mut dyn Operation, news: &mut News) -> Result<Option<Error>> {
        let told = news.events.len();
        self.statement("SAVEPOINT operation")?;
        let failure = match self.run_operation(operation, news) {
            Ok(()) => None,
            Err(error) if is_of_the_operation(&error) => {
                tracing::error!(%error, "an operation of the store failed and was undone");
                self.statement("ROLLBACK TO operation")?;
                news.events.truncate(told);
                Some(error)
            }
            Err(error) => return Err(error),
        };
        self.statement("RELEASE operation")?;
        Ok(failure)
    }

    fn run_operation(&self, operation: &mut dyn Operation, news: &mut News) -> Result<()> {
        operation.run(&mut Change { connection: &self.connection, now: self.shared.clock.now(), news })
    }

    /// Before COMMIT a full disk, and what says nothing about the database, is harmless if the transaction can be rolled
    /// back; other I/O errors never are.
    fn give_up(&self, error: Error) -> Broken {
        // SQLite may have rolled back by itself.
        let undone = self.connection.is_autocommit() || self.statement("ROLLBACK").is_ok();
        let harmless = is_of_the_operation(&error) || error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        if undone && harmless { Broken::RolledBack(error) } else { Broken::Unknown(error) }
    }

    fn statement(&self, text: &str) -> Result<()> {
        self.connection.prepare_cached(text)?.execute([]).map(|_| ())
    }

    fn tell(&self, news: &News) {
        if news.woken || !news.events.is_empty() {
            let listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
            listeners.iter().for_each(|listener| listener(&news.events, news.woken));
        }
    }

    fn stop(&self, error: &Error) {
        if !self.shared.stopped.swap(true, Ordering::SeqCst) {
            (self.shared.fatal)(&error.to_string());
        }
    }

    fn checkpoint(&mut self, idle: bool) {
        if self.shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = self.checkpoints.after_commit(&self.connection, idle) {
            self.stop(&error);
        }
    }

    /// The next process need not check what it finds.
    fn close(self) {
        if self.shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let marked = self.connection.execute(sql::META_SET, ["clean", "1"]).map(|_| ());
        if let Err(error) = marked.and_then(|()| Checkpoints::truncate(&self.connection)) {
            tracing::error!(%error, "the database could not be closed cleanly; the next start checks it");
        }
    }
}

/// Whether an error says nothing about the database, only about what was asked of it.
fn is_of_the_operation(error: &Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::Unknown
        ),
        None => true,
    }
}

fn holds(batch: &[Queued], kind: Kind) -> bool {
    batch.iter().any(|queued| queued.kind == kind)
}

fn crash_points_before(batch: &[Queued]) {
    if holds(batch, Kind::Create) {
        failpoint::hit("C1");
    }
    if holds(batch, Kind::Open) {
        failpoint::hit("C4.before");
    }
}

fn crash_points_after(batch: &[Queued], news: &News) {
    if holds(batch, Kind::Create) {
        failpoint::hit("C2");
    }
    if holds(batch, Kind::Open) {
        failpoint::hit("C4.after");
    }
    if holds(batch, Kind::Evidence) {
        failpoint::hit("C8");
    }
    if news.finished {
        failpoint::hit("C14");
    }
}
