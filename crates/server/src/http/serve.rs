//! Accepts connections and serves them: a cap, time limits for headers, idleness and stalled peers, a graceful stop.
//!
//! `axum::serve` has none of these, so this is the loop below it, over the same hyper.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::limits::Limits;
use super::stall::StallGuard;

/// Streams of one HTTP/2 connection at once.
const MAX_HTTP2_STREAMS: u32 = 128;
/// Pause after a failed accept, such as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Room above the limit of headers, so that hyper lets them through and the answer has our envelope.
const HEADER_SLACK: usize = 2;

/// Serves until `stop` resolves, then waits for requests under way, at most `limits.stop_timeout`.
///
/// Cancel `App::stopping` before: it ends event streams and long polls, which would outlast the wait.
///
/// # Errors
/// None yet: a failed accept is logged and tried again. The type leaves room for listeners that can die.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let builder = Arc::new(builder(limits));
    let room = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        // The permit first: a full house leaves newcomers in the kernel's queue.
        let permit = tokio::select! {
            Ok(permit) = Arc::clone(&room).acquire_owned() => permit,
            () = &mut stop => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        while connections.try_join_next().is_some() {}
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                pause().await;
                continue;
            }
        };
        let (builder, router, watcher) = (Arc::clone(&builder), router.clone(), graceful.watcher());
        let (opening, write) = (limits.header_timeout, limits.write_timeout);
        connections.spawn(async move {
            let io = TokioIo::new(guarded(stream, opening, write));
            let connection = builder.serve_connection(io, TowerToHyperService::new(router)).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.stop_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end in time and are cut");
    }
    connections.shutdown().await;
    Ok(())
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.max_headers * HEADER_SLACK)
        .max_buf_size((limits.max_header_bytes + limits.max_uri_bytes) * HEADER_SLACK);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_HTTP2_STREAMS)
        .max_header_list_size(u32::try_from(limits.max_header_bytes * HEADER_SLACK).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout);
    builder
}

fn guarded(stream: TcpStream, opening: Duration, write: Duration) -> StallGuard<TcpStream> {
    // Events are small and must not wait for more of them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    StallGuard::new(stream, opening, write)
}

#[expect(clippy::disallowed_methods, reason = "a breath of the accept loop; it decides nothing about jobs")]
async fn pause() {
    tokio::time::sleep(ACCEPT_PAUSE).await;
}
