//! Hints between processes: "there is work to look at", without words. Everything works without them, a second later.
//!
//! One connection of its own listens and, apart from every transaction, notifies, at most ten times a second. Absent: what
//! happened; who hears a hint looks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longtake_core::store::CommitListener;
use tokio::sync::Notify;

use super::listen::Listening;
use super::pool::Pool;

/// Least time between two hints of one process.
const BETWEEN: Duration = Duration::from_millis(100);
/// Time between two tries to connect.
const AGAIN: Duration = Duration::from_secs(5);

/// Where hints go out.
#[derive(Clone, Default)]
pub(super) struct Hints {
    asked: Arc<Notify>,
}

impl Hints {
    /// Tells the other processes, soon; several are one.
    pub fn send(&self) {
        self.asked.notify_one();
    }

    /// Sends and hears hints for as long as it is polled.
    pub async fn run(self, pool: Arc<Pool>, listeners: Arc<Mutex<Vec<CommitListener>>>) {
        loop {
            match Listening::new(pool.target(), "longtake_work").await {
                Ok(listening) => self.exchange(listening, &listeners).await,
                Err(failure) => tracing::debug!(?failure, "no hints for now"),
            }
            sleep(AGAIN).await;
        }
    }

    /// Until the connection breaks.
    async fn exchange(&self, mut listening: Listening, listeners: &Mutex<Vec<CommitListener>>) {
        loop {
            let heard = tokio::select! {
                biased;
                heard = listening.heard() => heard,
                () = self.asked.notified() => {
                    if listening.client.batch_execute("notify longtake_work").await.is_err() {
                        return;
                    }
                    sleep(BETWEEN).await;
                    continue;
                }
            };
            match heard {
                None => return,
                // Our own: who listens here was told already.
                Some(sender) if sender == listening.backend => {}
                Some(_) => {
                    let listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    listeners.iter().for_each(|listener| listener(&[], true));
                }
            }
        }
    }
}

async fn sleep(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "what is waited for is a database in the real world")]
    tokio::time::sleep(time).await;
}
