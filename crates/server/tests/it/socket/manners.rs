//! Who may open a socket, what a client may say in one, and how it ends.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use longtake::clock::SystemClock;
use longtake_core::time::Clock;
use longtake_testing::wait_until;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::client::{BOUND, Heard, Socket, handshake};
use crate::app::{Authorized, Server, code, tiny};

/// A handshake as plain HTTP, to read the answer to one that is refused.
fn plain(server: &Server, path: &str) -> Authorized {
    server
        .get(path)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// As a page asks: the protocols it offers, and no header of its own.
async fn offering(server: &Server, protocols: &str) -> Result<(Socket, Option<String>), u16> {
    let mut request = handshake(server, "/v1/events/ws");
    request.headers_mut().remove("authorization");
    request.headers_mut().insert("sec-websocket-protocol", protocols.parse().unwrap());
    let stream = tokio::net::TcpStream::connect(server.base.strip_prefix("http://").unwrap()).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((inner, response)) => {
            let chosen = response.headers().get("sec-websocket-protocol").map(|it| it.to_str().unwrap().to_owned());
            Ok((Socket { inner, cursor: String::new(), pings: 0 }, chosen))
        }
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_a_header_or_a_protocol_and_stands_nowhere_else() {
    let server = Server::start().await;
    let key = server.admin_key.clone();
    let (mut socket, chosen) = offering(&server, &format!("longtake, key.{key}")).await.unwrap();
    assert_eq!(chosen.as_deref(), Some("longtake"), "the answer never holds the key");
    assert_eq!(socket.next().await, Heard::Cursor);
    for (protocols, status) in [
        ("longtake".to_owned(), 401),
        ("longtake, key.".to_owned(), 401),
        ("longtake, key.lt_wrong".to_owned(), 401),
        (format!("longtake, key.{key}, key.{key}"), 401),
        (format!("longtake, {key}"), 401),
        (format!("key.{key}"), 400),
    ] {
        assert_eq!(offering(&server, &protocols).await.err(), Some(status), "{protocols}");
    }
    let path = "/v1/events/ws";
    let protocol = format!("longtake, key.{key}");
    let twice = plain(&server, path).bearer_auth("lt_wrong").header("sec-websocket-protocol", &protocol);
    assert_eq!(code(twice).await, (401, "invalid_api_key".to_owned()), "the header wins");
    let anonymous = || (401, "invalid_api_key".to_owned());
    assert_eq!(code(plain(&server, path).anonymous()).await, anonymous());
    assert_eq!(code(plain(&server, &format!("{path}?key={key}")).anonymous()).await, anonymous());
    assert_eq!(
        code(server.get("/v1/videos").anonymous().header("sec-websocket-protocol", protocol)).await,
        anonymous()
    );

    // What a page's own server fetches for it.
    let made = server.post("/v1/conduit/auth/ephemeral-key").send().await.unwrap().json::<Value>().await.unwrap();
    let short = made["ephemeral_key"].as_str().unwrap_or_else(|| panic!("{made}"));
    assert!(offering(&server, &format!("longtake, key.{short}")).await.is_ok(), "it opens a socket");

    let body = serde_json::json!({"name": "writes", "scopes": ["write"]});
    let writer: Value = server.post("/v1/api_keys").json(&body).send().await.unwrap().json().await.unwrap();
    let refused = code(plain(&server, path).bearer_auth(writer["key"].as_str().unwrap())).await;
    assert_eq!(refused, (403, "insufficient_scope".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_for_no_socket_is_told_how_to_ask() {
    let server = Server::start().await;
    let response = server.get("/v1/events/ws").send().await.unwrap();
    assert_eq!(response.status(), 426);
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert_eq!(response.headers()["sec-websocket-version"], "13");
    assert_eq!(code(server.get("/v1/events/ws")).await, (426, "upgrade_required".to_owned()));
    assert_eq!(code(server.post("/v1/events/ws")).await, (405, "method_not_allowed".to_owned()));
    for (path, expected) in [("?from=1", "unknown_parameter"), ("?types=video.made", "invalid_value")] {
        let refused = code(plain(&server, &format!("/v1/events/ws{path}"))).await;
        assert_eq!(refused, (400, expected.to_owned()));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_no_page_of_another_site_listens() {
    let server = Server::start_with(|config| config.server.insecure_no_auth = true).await;
    let own = server.base.clone();
    for strange in ["https://example.com", "null", "http://127.0.0.1", "file://", "http://127.0.0.1:1"] {
        let refused = code(plain(&server, "/v1/events/ws").anonymous().header("origin", strange)).await;
        assert_eq!(refused, (403, "origin_refused".to_owned()), "{strange}");
    }
    for (name, strange) in [("origin", "https://example.com"), ("host", "rebound.example.com")] {
        let refused = code(server.post("/v1/videos").anonymous().header(name, strange).json(&tiny("a page's"))).await;
        assert_eq!(refused, (403, "origin_refused".to_owned()), "{name}: {strange}");
        let refused = code(server.get("/v1/videos").anonymous().header(name, strange)).await;
        assert_eq!(refused, (403, "origin_refused".to_owned()), "{name}: {strange}");
    }
    assert_eq!(server.get("/v1/videos").anonymous().header("host", "localhost:1").send().await.unwrap().status(), 200);
    assert_eq!(server.get("/v1/videos").anonymous().header("origin", &own).send().await.unwrap().status(), 200);
    let mut request = handshake(&server, "/v1/events/ws");
    request.headers_mut().remove("authorization");
    Socket::try_open(&server, request.clone()).await.unwrap();
    request.headers_mut().insert("origin", own.parse().unwrap());
    Socket::try_open(&server, request.clone()).await.unwrap();
    server.stop().await;

    // With keys, a page may come from anywhere: it needs one.
    let server = Server::start().await;
    let mut request = handshake(&server, "/v1/events/ws");
    request.headers_mut().insert("origin", "https://example.com".parse().unwrap());
    Socket::try_open(&server, request).await.unwrap();
    server.stop().await;
}

/// The next message that is no ping of the server's.
async fn answer(socket: &mut Socket) -> Message {
    loop {
        match tokio::time::timeout(BOUND, socket.inner.next()).await.unwrap().unwrap().unwrap() {
            Message::Ping(_) => {}
            message => return message,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_nothing_but_ping_and_goodbye() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, "/v1/events/ws").await;
    socket.inner.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(answer(&mut socket).await, Message::Pong("are you there".into()));
    socket.inner.close(None).await.unwrap();
    assert_eq!(answer(&mut socket).await, Message::Close(None), "a goodbye is answered");

    let part = |code, length: usize, last| Message::Frame(Frame::message(vec![b'a'; length], OpCode::Data(code), last));
    let spoken: [(&str, Vec<Message>, u16); 5] = [
        ("a word", vec![Message::text("hello")], 1003),
        ("bytes", vec![Message::binary(vec![1, 2])], 1003),
        ("a long message", vec![Message::text("a".repeat(4_097))], 1009),
        ("a huge message", vec![Message::binary(vec![0; 600_000])], 1009),
        ("a message in parts", vec![part(Data::Text, 4_000, false), part(Data::Continue, 97, true)], 1009),
    ];
    for (what, messages, code) in spoken {
        let mut socket = Socket::open(&server, "/v1/events/ws").await;
        for message in messages {
            socket.inner.send(message).await.unwrap();
        }
        assert_eq!(socket.closed().await.0, code, "{what}");
    }
    server.stop().await;
}

/// A client that masks nothing, and one that sends junk.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_ends_a_socket() {
    let server = Server::start().await;
    for junk in [&[0x81_u8, 0x02, b'h', b'i'][..], &[0x83, 0x80, 0, 0, 0, 0], &[0xf1, 0x80, 0, 0, 0, 0]] {
        let mut socket = Socket::open(&server, "/v1/events/ws").await;
        socket.inner.get_mut().write_all(junk).await.unwrap();
        assert_eq!(socket.closed().await.0, 1002, "{junk:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_socket_is_pinged_and_one_that_does_not_answer_ends() {
    let server = Server::start_with(|config| config.server.heartbeat_secs = 1).await;
    let streams = &server.app().memory.streams;
    let all = server.app().limits.max_event_streams;
    let started = SystemClock.monotonic();
    let mut socket = Socket::open(&server, "/v1/events/ws").await;
    let mut dead = Socket::open(&server, "/v1/events/ws").await;
    // Reading answers pings; the other one has stopped to read.
    let reading = tokio::spawn(async move {
        socket.event().await;
        socket
    });
    wait_until("the dead one ends", BOUND, async || streams.available_permits() == all - 1).await;
    assert!(SystemClock.monotonic() - started >= Duration::from_secs(1), "it had a heartbeat to answer");
    server.create(&tiny("a sign [sandbox hang]")).await;
    let socket = reading.await.unwrap();
    assert!(socket.pings >= 1, "a quiet socket is pinged");
    assert_eq!(dead.next().await, Heard::Broken, "nobody is there to be told goodbye");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_count_among_the_streams_and_end_with_the_server() {
    let server = Server::start_with(|config| config.server.max_event_streams = 2).await;
    let mut socket = Socket::open(&server, "/v1/events/ws").await;
    // Takes nothing, and holds up no stop.
    let deaf = Socket::slow(&server, "/v1/events/ws").await;
    wait_until("both are open", BOUND, async || server.app().memory.streams.available_permits() == 0).await;
    assert_eq!(code(plain(&server, "/v1/events/ws")).await, (503, "overloaded".to_owned()));
    assert_eq!(code(server.get("/v1/events")).await, (503, "overloaded".to_owned()), "they are the same streams");
    let closed = tokio::spawn(async move { socket.closed().await });
    let started = SystemClock.monotonic();
    server.stop().await;
    assert!(SystemClock.monotonic() - started < Duration::from_secs(5), "a listener holds up the stop");
    let (code, reason) = closed.await.unwrap();
    assert_eq!(code, 1001, "{reason}");
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_one_of_the_connections_while_it_lives() {
    let server = Server::start_with(|config| config.server.max_connections = 2).await;
    let (first, second) = (Socket::open(&server, "/v1/events/ws").await, Socket::open(&server, "/v1/events/ws").await);
    let address = server.base.strip_prefix("http://").unwrap();
    // The kernel connects it; nobody answers until a socket is gone.
    let mut waiting = tokio::net::TcpStream::connect(address).await.unwrap();
    waiting.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.read_to_string(&mut answer)).await;
    assert!(early.is_err(), "{answer}");
    drop(first);
    tokio::time::timeout(BOUND, waiting.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
    drop(second);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_server_still_opens_sockets() {
    let server = Server::start().await;
    server.app().draining.cancel();
    let mut socket = Socket::open(&server, "/v1/events/ws").await;
    let video = server.create(&tiny("while it drains [sandbox duration=1ms]")).await;
    assert_eq!(socket.event().await["data"]["id"], video["id"]);
    server.stop().await;
}
