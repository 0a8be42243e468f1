//! Listeners whose bytes stand still: they are let go in bounded time, whatever the kernel had room for.

use std::time::Duration;

use longtake_core::store::NewJob;
use longtake_testing::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::app::Server;
use crate::feed::hanging;

const BOUND: Duration = Duration::from_secs(30);
const STREAM: &str = "/v1/events?types=video.queued";
const SOCKET: &str = "/v1/events/ws?types=video.queued";

/// A listener that has read the head of its answer, and whose kernel takes little that it does not read.
async fn listen(server: &Server, path: &str, more: &str, status: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let address = server.base.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let key = &server.admin_key;
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&begin), format!("HTTP/1.1 {status}"));
    stream
}

/// Two listeners, one of each kind, read nothing of so many events, each of which the kernel has no room for at the client.
async fn let_go_after(videos: usize) {
    const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let server = Server::start_with(|config| config.server.write_timeout_secs = 1).await;
    let all = server.app().limits.max_event_streams;
    let open = || all - server.app().memory.streams.available_permits();
    let slow = [listen(&server, STREAM, "", "200").await, listen(&server, SOCKET, UPGRADE, "101").await];
    assert_eq!(open(), 2);
    let jobs: Vec<NewJob> = (0..videos).map(|_| hanging(&"word".repeat(7_500))).collect();
    server.store().create(jobs).await.unwrap();
    wait_until("their places are free", BOUND, async || open() == 0).await;
    for mut listener in slow {
        // What lay between the two is gone with the connection: nothing is kept for who does not take it.
        let mut read = Vec::new();
        let end = tokio::time::timeout(BOUND, listener.read_to_end(&mut read)).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
    server.stop().await;
}

/// A write stands still.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_nothing_of_many_events_is_let_go() {
    let_go_after(60).await;
}

/// The kernel has room for all of it, on this side.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_nothing_of_few_events_is_let_go() {
    let_go_after(2).await;
}
