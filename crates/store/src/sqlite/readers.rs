//! Readers: a few connections that cannot write, each used by one read at a time on a blocking thread.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use longtake_core::store::StoreError;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::Semaphore;

use super::connect;

/// Connections, so reads at once. More would only wait for the same two cores.
const READERS: usize = 4;

/// The pool.
pub(super) struct Readers {
    path: Arc<Path>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// Opens all of them.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let mut idle = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            idle.push(reader(path)?);
        }
        Ok(Self { path: path.into(), idle: Arc::new(Mutex::new(idle)), permits: Arc::new(Semaphore::new(READERS)) })
    }

    /// One read, in one transaction: all its statements see the same commits.
    pub async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let failed = |error: longtake_core::BoxError| StoreError::Failed(error);
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|error| failed(error.into()))?;
        let (idle, path) = (Arc::clone(&self.idle), Arc::clone(&self.path));
        // Not cancelled with the caller: the connection comes back in any case.
        let answer = tokio::task::spawn_blocking(move || {
            let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            // Missing only where a read panicked and took its connection along.
            let connection = connection.map_or_else(|| reader(&path), Ok)?;
            let answer = in_one_transaction(&connection, read);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            answer
        });
        answer.await.map_err(|error| failed(error.into()))?.map_err(|error| failed(error.into()))
    }
}

fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn in_one_transaction<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    // Rolled back when it is dropped: there is nothing to commit.
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    read(&transaction)
}
