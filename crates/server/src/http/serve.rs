//! Accepts connections and serves them: a cap, time limits for headers, idleness and stalled peers, a graceful stop.
//!
//! `axum::serve` has none of these, so this is the loop below it, over the same hyper.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::ServiceExt;

use super::limits::Limits;
use super::stall::StallGuard;

/// Streams of one HTTP/2 connection at once.
const MAX_HTTP2_STREAMS: u32 = 128;
/// Pause after a failed accept, such as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time for the first request of a connection to arrive before a stopping server says goodbye to it.
const FIRST_WORDS: Duration = Duration::from_millis(100);
/// Most that the kernel keeps for a client beyond what its window takes, in bytes. The kernel's own measure is megabytes:
/// that much for each listener that reads nothing, and a client is slow long before a write to it stands still. Enough
/// that a fast one never waits for us.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 256 << 10;
/// Room above the limit of headers, so that hyper lets them through and the answer has our envelope.
const HEADER_SLACK: usize = 2;

/// Serves until `stop` resolves, then waits for requests under way, at most `limits.stop_timeout`. Whoever connected before
/// is served too.
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
    let mut house = House::new(router, limits);
    tokio::pin!(stop);
    loop {
        // The permit first: a full house leaves newcomers in the kernel's queue.
        let permit = tokio::select! {
            Ok(permit) = Arc::clone(&house.room).acquire_owned() => permit,
            () = &mut stop => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match stream {
            Ok((stream, _)) => house.let_in(stream, permit),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                pause().await;
            }
        }
    }
    house.let_in_waiting(listener, limits.max_connections);
    house.close(limits.stop_timeout).await;
    Ok(())
}

/// The place of a connection among all of them, in the extensions of each of its requests. Who takes the connection over
/// takes it along: a WebSocket counts as the connection it came from, until it ends.
#[derive(Debug, Clone)]
pub struct Seat(#[expect(dead_code, reason = "held, never read")] Arc<OwnedSemaphorePermit>);

/// Everyone who is connected.
struct House {
    builder: Arc<Builder<TokioExecutor>>,
    router: Router,
    room: Arc<Semaphore>,
    /// How many [`House::room`] has when nobody is in.
    seats: usize,
    graceful: GracefulShutdown,
    connections: JoinSet<()>,
    opening: Duration,
    write: Duration,
    newest: Option<Instant>,
}

impl House {
    fn new(router: Router, limits: &Limits) -> Self {
        Self {
            builder: Arc::new(builder(limits)),
            router,
            room: Arc::new(Semaphore::new(limits.max_connections)),
            seats: limits.max_connections,
            graceful: GracefulShutdown::new(),
            connections: JoinSet::new(),
            opening: limits.header_timeout,
            write: limits.write_timeout,
            newest: None,
        }
    }

    fn let_in(&mut self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        while self.connections.try_join_next().is_some() {}
        self.newest = Some(Instant::now());
        let (builder, router, watcher) = (Arc::clone(&self.builder), self.router.clone(), self.graceful.watcher());
        let io = TokioIo::new(guarded(stream, self.opening, self.write));
        self.connections.spawn(async move {
            let seat = Seat(Arc::new(permit));
            let seated = router.map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(seat.clone());
                request
            });
            let connection = builder.serve_connection_with_upgrades(io, TowerToHyperService::new(seated)).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "a connection broke off");
            }
        });
    }

    /// The kernel has connected others already: with the listener it would reset them, and lose what they asked for.
    fn let_in_waiting(&mut self, listener: TcpListener, most: usize) {
        // The kernel itself is asked; the runtime may not have heard of them yet.
        let Ok(listener) = listener.into_std() else { return };
        for _ in 0..most {
            let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else { return };
            let Ok((stream, _)) = listener.accept() else { return };
            match stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                Ok(stream) => self.let_in(stream, permit),
                Err(error) => tracing::warn!(%error, "accepting a connection failed"),
            }
        }
    }

    async fn close(mut self, timeout: Duration) {
        // Who came last has asked already, or is about to: a farewell before that is read would lose it.
        if let Some(newest) = self.newest {
            tokio::time::sleep_until(newest + FIRST_WORDS).await;
        }
        let (room, everyone) = (Arc::clone(&self.room), u32::try_from(self.seats).unwrap_or(u32::MAX));
        let left = async {
            self.graceful.shutdown().await;
            // WebSockets have left their connection behind, but keep its seat.
            drop(room.acquire_many(everyone).await);
        };
        if tokio::time::timeout(timeout, left).await.is_err() {
            tracing::warn!("some connections did not end in time and are cut");
        }
        self.connections.shutdown().await;
    }
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
    if let Err(error) = set_options(&stream, write) {
        tracing::debug!(%error, "a connection keeps the kernel's ways");
    }
    StallGuard::new(stream, opening, write, reset)
}

fn set_options(stream: &TcpStream, write: Duration) -> io::Result<()> {
    // Events are small and must not wait for more of them.
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        let socket = SockRef::from(stream);
        socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
        // What the kernel has taken from us must arrive too: of a quiet stream it takes hours of events.
        socket.set_tcp_user_timeout(Some(write))?;
    }
    Ok(())
}

/// What the kernel still has for a peer that takes nothing is thrown away with the connection; politely closed, it would
/// be kept for minutes more.
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a connection that stands still is closed politely");
    }
}

#[expect(clippy::disallowed_methods, reason = "a breath of the accept loop; it decides nothing about jobs")]
async fn pause() {
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;

    use super::*;

    /// The longest anything is waited for.
    const BOUND: Duration = Duration::from_secs(30);

    /// The server's end of a connection, and a client's whose kernel takes little that it does not read.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let (client, server) = tokio::join!(socket.connect(listener.local_addr().unwrap()), listener.accept());
        (server.unwrap().0, client.unwrap())
    }

    /// Writes until that fails; how many bytes were taken.
    async fn fill(mut stream: impl AsyncWriteExt + Unpin) -> (usize, io::ErrorKind) {
        let (mut taken, piece) = (0, [0; 16 << 10]);
        let failed = async {
            loop {
                match stream.write(&piece).await {
                    Ok(count) => taken += count,
                    Err(error) => break error.kind(),
                }
            }
        };
        let failed = tokio::time::timeout(BOUND, failed).await.unwrap();
        (taken, failed)
    }

    #[tokio::test]
    async fn who_takes_nothing_is_reset_and_what_was_kept_for_him_is_gone() {
        let (server, mut client) = pair().await;
        let limit = Duration::from_millis(50);
        let (taken, failed) = fill(StallGuard::new(server, BOUND, limit, reset)).await;
        assert_eq!(failed, io::ErrorKind::TimedOut);
        let mut read = Vec::new();
        let end = tokio::time::timeout(BOUND, client.read_to_end(&mut read)).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(read.len() < taken, "{} of {taken} came", read.len());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn little_is_kept_for_who_takes_nothing() {
        let (server, _client) = pair().await;
        let (taken, failed) = fill(guarded(server, BOUND, Duration::from_secs(1))).await;
        assert_eq!(failed, io::ErrorKind::TimedOut);
        assert!(taken < 3 * UNSENT_BYTES as usize, "{taken} bytes");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_the_kernel_has_taken_must_arrive_too() {
        const LITTLE: usize = 128 << 10;
        let (server, _client) = pair().await;
        // Of the guard's own limits none is over in time.
        let mut server = guarded(server, 10 * BOUND, Duration::from_secs(1));
        tokio::time::timeout(BOUND, server.write_all(&[0; LITTLE])).await.unwrap().unwrap();
        let end = tokio::time::timeout(BOUND, server.read_u8()).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_connected_before_the_stop_is_answered() {
        const CLIENTS: usize = 20;
        const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = |_| std::net::TcpStream::connect(address).unwrap();
        let mut early: Vec<_> = (0..CLIENTS).map(connect).collect();
        let mut late: Vec<_> = (0..CLIENTS).map(connect).collect();
        early.iter_mut().for_each(|client| client.write_all(REQUEST).unwrap());
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let limits = Limits::default();
        let serving = serve(listener, router, &limits, std::future::ready(()));
        // First polled when the server has heard that it is to stop.
        let asking = async {
            late.iter_mut().for_each(|client| client.write_all(REQUEST).unwrap());
            let read = |mut client: std::net::TcpStream| {
                let mut text = String::new();
                client.read_to_string(&mut text).map(|_| text)
            };
            let all: Vec<_> = early.into_iter().chain(late).collect();
            tokio::task::spawn_blocking(move || all.into_iter().map(read).collect::<Vec<_>>()).await
        };
        let (served, answers) = tokio::join!(serving, asking);
        served.unwrap();
        for answer in answers.unwrap() {
            let text = answer.unwrap();
            assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("here"), "{text}");
        }
        assert!(TcpStream::connect(address).await.is_err(), "nobody else is let in");
    }
}
