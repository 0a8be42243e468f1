//! A receiver of webhooks: remembers what it was sent, answers as it is told, and checks signatures.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use longtake::webhooks::signature::sign;
use longtake_testing::wait_until;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The longest anything is waited for.
const BOUND: Duration = Duration::from_secs(60);

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub bytes: Bytes,
    pub body: Value,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The event's id, as the header says it.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// The type of the event.
    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default()
    }

    /// How many signatures there are.
    pub fn signatures(&self) -> usize {
        self.header("webhook-signature").split(' ').count()
    }

    /// Whether one of them was made with this secret.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let at = self.header("webhook-timestamp").parse().unwrap();
        let right = sign(&[secret.to_owned()], self.id(), at, &self.bytes);
        self.header("webhook-signature").split(' ').any(|given| given == right)
    }
}

/// What its handler shares with the test.
#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Received>>,
    /// What it answers.
    status: AtomicU16,
}

/// A receiver on a free port.
pub struct Receiver {
    address: String,
    seen: Arc<Seen>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// One that takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen { status: AtomicU16::new(200), ..Seen::default() });
        let app = Router::new().fallback(receive).with_state(seen.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, seen, server }
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// What it answers from now on.
    pub fn answer(&self, status: u16) {
        self.seen.status.store(status, Ordering::SeqCst);
    }

    /// All requests so far, in order.
    pub fn received(&self) -> Vec<Received> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Waits until the requests are as they should be; they.
    pub async fn until(&self, what: &str, holds: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        wait_until(what, BOUND, async || holds(&self.received())).await;
        self.received()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(seen): State<Arc<Seen>>, uri: Uri, headers: HeaderMap, bytes: Bytes) -> (StatusCode, String) {
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    seen.requests.lock().unwrap().push(Received { path: uri.path().to_owned(), headers, bytes, body });
    let status = StatusCode::from_u16(seen.status.load(Ordering::SeqCst)).unwrap();
    (status, format!("answered {}", status.as_u16()))
}
