//! Ctrl-C and SIGTERM: the first asks to end in order, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::CliError;

/// Exit code after SIGINT and after SIGTERM, as shells report them.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Whether someone asked this process to end.
#[derive(Clone)]
pub(crate) struct Interrupt {
    asked: CancellationToken,
    code: Arc<AtomicU8>,
}

impl Interrupt {
    /// Listens from now on, for the rest of the process.
    pub(crate) fn listen() -> Result<Self, CliError> {
        let failed = |error| CliError::failed(format!("signals cannot be received: {error}"));
        let interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
        let terminations = signal(SignalKind::terminate()).map_err(failed)?;
        let interrupt = Self { asked: CancellationToken::new(), code: Arc::new(AtomicU8::new(INTERRUPTED)) };
        tokio::spawn(interrupt.clone().follow(interrupts, terminations));
        Ok(interrupt)
    }

    async fn follow(self, mut interrupts: Signal, mut terminations: Signal) {
        loop {
            let code = tokio::select! {
                Some(()) = interrupts.recv() => INTERRUPTED,
                Some(()) = terminations.recv() => TERMINATED,
                else => return,
            };
            if self.asked.is_cancelled() {
                // Nothing is lost: what was accepted is in the database.
                std::process::exit(code.into());
            }
            self.code.store(code, Ordering::SeqCst);
            self.asked.cancel();
        }
    }

    /// Resolves when asked to end.
    pub(crate) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// The exit code that says why.
    pub(crate) fn code(&self) -> u8 {
        self.code.load(Ordering::SeqCst)
    }
}
