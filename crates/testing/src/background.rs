//! A runtime on a thread of its own, so that a simulator runs beside any kind of test, also a blocking one.

use std::time::Duration;

use tokio::sync::oneshot;

/// Tasks that do not end on their own are dropped; this bounds the wait for a task in the middle of a poll.
const STOP_BOUND: Duration = Duration::from_secs(2);

/// A running service; dropping it stops the service and closes its sockets.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Background {
    /// Runs `service` on a new runtime with `workers` threads until it is stopped.
    pub(crate) fn start<F, S>(name: &str, workers: usize, service: F) -> Self
    where
        F: FnOnce() -> S + Send + 'static,
        S: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers.max(1))
            .thread_name(name)
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = service() => {}
                        _ = stopped => {}
                    }
                });
                runtime.shutdown_timeout(STOP_BOUND);
            })
            .expect("a thread can be started");
        Self { stop: Some(stop), thread: Some(thread) }
    }

    /// Stops the service and waits until its sockets are closed.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // A service that has ended on its own no longer listens.
            let _ended = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }

    /// Waits until the service ends on its own.
    pub(crate) fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}
