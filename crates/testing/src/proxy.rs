//! A TCP proxy that cuts: bytes pass unchanged until a limit, a delay or a refusal that can be changed at any time.
//!
//! One task per connection and direction. The behaviour is read at each chunk, so a change also meets connections
//! that are open. Absent: any knowledge of HTTP or TLS.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::background::Background;

/// Bytes forwarded at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Tries to get the own port back after a refusal, 20 ms apart.
const REBIND_TRIES: u32 = 250;

/// What the proxy does to connections. The default forwards everything at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// Stop listening: a connect is refused. Connections that are open stay.
    pub refuse: bool,
    /// Accept, and reset at once.
    pub reset: bool,
    /// Accept and read nothing: the peer waits for ever.
    pub black_hole: bool,
    /// Reset a connection when this many bytes have gone from client to target; the rest is not forwarded.
    pub cut_after_sent: Option<u64>,
    /// Reset a connection when this many bytes have gone from target to client; the rest is not forwarded.
    pub cut_after_received: Option<u64>,
    /// Pause before each chunk is forwarded, in milliseconds.
    pub delay_ms: u64,
}

/// State that connections share with the handle.
#[derive(Debug)]
struct Shared {
    behaviour: watch::Sender<Behaviour>,
    target: watch::Sender<SocketAddr>,
    /// Grows with each [`Proxy::cut_all`]; a connection older than the change ends.
    cuts: watch::Sender<u64>,
    accepted: AtomicU64,
    open: AtomicUsize,
}

/// A running proxy; dropping it stops it and closes its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    background: Background,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `target`.
    ///
    /// # Panics
    /// When no port can be bound.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let listener = StdListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            behaviour: watch::Sender::new(Behaviour::default()),
            target: watch::Sender::new(target),
            cuts: watch::Sender::new(0),
            accepted: AtomicU64::new(0),
            open: AtomicUsize::new(0),
        });
        let served = Arc::clone(&shared);
        let background = Background::start("proxy", 1, move || serve(listener, address, served));
        Self { address, shared, background }
    }

    /// Where the proxy listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and [`Self::address`].
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what happens to connections, also to open ones. A refusal takes effect within milliseconds; poll for it.
    pub fn set(&self, behaviour: Behaviour) {
        self.shared.behaviour.send_replace(behaviour);
    }

    /// Forwards new connections to another target.
    pub fn set_target(&self, target: SocketAddr) {
        self.shared.target.send_replace(target);
    }

    /// Resets every open connection.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Stops the proxy and closes its connections.
    pub fn shutdown(mut self) {
        self.background.stop();
    }
}

async fn serve(listener: StdListener, address: SocketAddr, shared: Arc<Shared>) {
    listener.set_nonblocking(true).expect("a socket can be non-blocking");
    let mut listener = Some(TcpListener::from_std(listener).expect("the runtime takes the socket"));
    let mut behaviour = shared.behaviour.subscribe();
    loop {
        if behaviour.borrow_and_update().refuse {
            listener = None;
            if behaviour.changed().await.is_err() {
                return;
            }
            continue;
        }
        let socket = match listener.take() {
            Some(socket) => socket,
            None => rebind(address).await,
        };
        tokio::select! {
            biased;
            changed = behaviour.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            accepted = socket.accept() => {
                if let Ok((client, _)) = accepted {
                    shared.accepted.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(pass(client, Arc::clone(&shared)));
                }
            }
        }
        listener = Some(socket);
    }
}

async fn rebind(address: SocketAddr) -> TcpListener {
    for _ in 0..REBIND_TRIES {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the proxy's port {address} was taken by another process while it refused connections");
}

/// Counts a connection as open for as long as it lives.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn pass(client: TcpStream, shared: Arc<Shared>) {
    let _open = Open::new(&shared);
    let mut cuts = shared.cuts.subscribe();
    cuts.mark_unchanged();
    let mut behaviour = shared.behaviour.subscribe();
    let now = behaviour.borrow_and_update().clone();
    if now.reset {
        let _lingers = client.set_zero_linger();
        return;
    }
    if now.black_hole {
        // Held until the behaviour changes or all are cut.
        tokio::select! { _ = cuts.changed() => {} _ = behaviour.changed() => {} }
        let _lingers = client.set_zero_linger();
        return;
    }
    let target = *shared.target.borrow();
    let Ok(server) = TcpStream::connect(target).await else {
        let _lingers = client.set_zero_linger();
        return;
    };
    let (_without, _without_either) = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let sent = forward(client_read, server_write, &shared, |behaviour| behaviour.cut_after_sent);
    let received = forward(server_read, client_write, &shared, |behaviour| behaviour.cut_after_received);
    tokio::pin!(sent, received);
    // A direction that ended in peace leaves the other one going; a cut ends both.
    tokio::select! {
        _ = cuts.changed() => {
            // Dropping the two directions closes the sockets; see `Direction`.
        }
        passed = &mut sent => if let Passed::Ended = passed { received.await; },
        passed = &mut received => if let Passed::Ended = passed { sent.await; },
    }
}

/// How one direction came to its end.
enum Passed {
    Ended,
    Cut,
}

/// A write half that resets instead of closing unless it was closed in peace.
struct Direction {
    to: OwnedWriteHalf,
    peaceful: bool,
}

impl Drop for Direction {
    fn drop(&mut self) {
        if !self.peaceful {
            let _lingers = self.to.as_ref().set_zero_linger();
        }
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    shared: &Shared,
    limit: impl Fn(&Behaviour) -> Option<u64>,
) -> Passed {
    let mut to = Direction { to, peaceful: false };
    let mut passed = 0_u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let Ok(read) = from.read(&mut chunk).await else { return Passed::Cut };
        if read == 0 {
            to.peaceful = true;
            let _gone = to.to.shutdown().await;
            return Passed::Ended;
        }
        let behaviour = shared.behaviour.borrow().clone();
        if behaviour.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
        }
        let left = limit(&behaviour).map_or(u64::MAX, |limit| limit.saturating_sub(passed));
        let allowed = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        if to.to.write_all(&chunk[..allowed]).await.is_err() {
            return Passed::Cut;
        }
        passed += allowed as u64;
        if allowed as u64 == left || allowed < read {
            // What was allowed must reach the peer: a reset would throw it away together with the rest.
            to.peaceful = true;
            let _gone = to.to.shutdown().await;
            return Passed::Cut;
        }
    }
}
