//! A WebSocket on the feed, and what it hears.

use std::time::Duration;

use futures::StreamExt;
use http::Request;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::app::Server;

/// Longest wait for the next message.
pub const BOUND: Duration = Duration::from_secs(30);

/// What a socket hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Only the cursor moved.
    Cursor,
    /// The body of an event.
    Event(Value),
    /// The envelope of an error.
    Error(Value),
    /// Code and reason of a close.
    Close(u16, String),
    /// The connection ended without a close.
    Broken,
}

/// An open socket.
pub struct Socket {
    pub inner: WebSocketStream<TcpStream>,
    /// The last cursor it was told.
    pub cursor: String,
    pub pings: usize,
}

/// The request of a handshake, with the admin key.
pub fn handshake(server: &Server, path: &str) -> Request<()> {
    let mut request = format!("{}{path}", server.base.replace("http", "ws")).into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", server.admin_key).parse().unwrap());
    request
}

impl Socket {
    /// Opens it; a refusal is an [`Error::Http`].
    pub async fn try_open(server: &Server, request: Request<()>) -> Result<Self, Error> {
        Self::over(TcpStream::connect(server.base.strip_prefix("http://").unwrap()).await.unwrap(), request).await
    }

    async fn over(stream: TcpStream, request: Request<()>) -> Result<Self, Error> {
        let (inner, response) = client_async(request, stream).await?;
        assert!(response.headers().contains_key("x-request-id"));
        Ok(Self { inner, cursor: String::new(), pings: 0 })
    }

    /// Opens it with the admin key and hears its first cursor.
    pub async fn open(server: &Server, path: &str) -> Self {
        let mut socket = Self::try_open(server, handshake(server, path)).await.unwrap();
        assert_eq!(socket.next().await, Heard::Cursor, "none begins without a cursor");
        assert!(socket.cursor.starts_with("cur_"), "{}", socket.cursor);
        socket
    }

    /// The same behind a cursor.
    pub async fn behind(server: &Server, cursor: &str) -> Self {
        Self::open(server, &format!("/v1/events/ws?after={cursor}")).await
    }

    /// One whose kernel takes little that it does not read; nothing is read yet.
    pub async fn slow(server: &Server, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(256 << 10).unwrap();
        let address = server.base.strip_prefix("http://").unwrap().parse().unwrap();
        Self::over(socket.connect(address).await.unwrap(), handshake(server, path)).await.unwrap()
    }

    /// What comes next, but pings.
    pub async fn next(&mut self) -> Heard {
        loop {
            let message = tokio::time::timeout(BOUND, self.inner.next()).await.expect("nothing came");
            match message {
                Some(Ok(Message::Text(text))) => return self.told(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_))) => self.pings += 1,
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Heard::Close(frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(other)) => panic!("a message of a kind that is never sent: {other:?}"),
                Some(Err(_)) | None => return Heard::Broken,
            }
        }
    }

    fn told(&mut self, mut message: Value) -> Heard {
        if message["error"].is_object() {
            return Heard::Error(message);
        }
        self.cursor = message["cursor"].as_str().unwrap().to_owned();
        match message["event"].take() {
            Value::Null => Heard::Cursor,
            event => Heard::Event(event),
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Value {
        loop {
            match self.next().await {
                Heard::Event(event) => return event,
                Heard::Cursor => {}
                other => panic!("no event, but {other:?}"),
            }
        }
    }

    /// Events until this many videos have ended.
    pub async fn until_ended(&mut self, count: usize) -> Vec<Value> {
        let mut seen: Vec<Value> = Vec::new();
        while seen.iter().filter(|event| is_final(event)).count() < count {
            seen.push(self.event().await);
        }
        seen
    }

    /// Code and reason of the close, whatever comes before; 0 where the connection ended without.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Heard::Close(code, reason) => return (code, reason),
                Heard::Broken => return (0, String::new()),
                _ => {}
            }
        }
    }
}

pub fn is_final(event: &Value) -> bool {
    ["video.completed", "video.failed", "video.canceled"].contains(&event["type"].as_str().unwrap())
}

pub fn id(event: &Value) -> &str {
    event["id"].as_str().unwrap()
}
