//! A receiver of webhooks that outlives every node, remembers what came and may misbehave (F12).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::client::Client;

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Takes it.
    Takes,
    /// Never answers.
    Hangs,
    /// Sends the sender elsewhere.
    Redirects,
    /// Answers 500.
    Fails,
    /// Answers 200, and a body that does not end.
    Drips,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The `webhook-id`.
    pub id: String,
    /// From the body.
    pub video: String,
    pub sequence: u64,
    /// Whether it was answered with 2xx.
    pub taken: bool,
}

#[derive(Clone)]
struct Shared {
    manner: Arc<Mutex<Manner>>,
    got: Arc<Mutex<Vec<Got>>>,
}

/// A receiver on a free port.
pub struct Hook {
    url: String,
    shared: Shared,
    server: JoinHandle<()>,
}

impl Hook {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Shared { manner: Arc::new(Mutex::new(manner)), got: Arc::default() };
        let app = Router::new().fallback(receive).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, server }
    }

    /// Asks to be told of everything.
    pub async fn subscribe(&self, client: &Client) -> Result<(), String> {
        match client.post("/v1/webhook_endpoints", &json!({"url": self.url})).await {
            Some((201, _)) => Ok(()),
            other => Err(format!("no webhook endpoint: {other:?}")),
        }
    }

    /// From now on.
    pub fn behave(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// Ids that were taken, each with how often; and what is wrong with the requests: an id of two events, first tries of
    /// a video's events that did not come in their order.
    pub fn books(&self) -> (BTreeMap<String, usize>, Vec<String>) {
        let (mut taken, mut wrong) = (BTreeMap::new(), Vec::new());
        let mut highest: BTreeMap<String, u64> = BTreeMap::new();
        let mut events: BTreeMap<String, (String, u64)> = BTreeMap::new();
        for got in self.shared.got.lock().unwrap().iter() {
            let event = (got.video.clone(), got.sequence);
            if got.taken {
                *taken.entry(got.id.clone()).or_insert(0) += 1;
            }
            match events.insert(got.id.clone(), event.clone()) {
                None => {
                    let highest = highest.entry(got.video.clone()).or_insert(0);
                    if got.sequence < *highest {
                        wrong.push(format!("I9: event {} of {} came first after {highest}", got.sequence, got.video));
                    }
                    *highest = got.sequence.max(*highest);
                }
                Some(before) if before != event => wrong.push(format!("I9: {} names two events", got.id)),
                Some(_) => {}
            }
        }
        (taken, wrong)
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(shared): State<Shared>, headers: HeaderMap, bytes: Bytes) -> Response<Body> {
    let manner = *shared.manner.lock().unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    shared.got.lock().unwrap().push(Got {
        id: headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned(),
        video: body["data"]["id"].as_str().unwrap_or_default().to_owned(),
        sequence: body["sequence"].as_u64().unwrap_or(0),
        taken: matches!(manner, Manner::Takes | Manner::Drips),
    });
    let answer = Response::builder();
    match manner {
        Manner::Takes => answer.status(StatusCode::NO_CONTENT).body(Body::empty()).unwrap(),
        Manner::Hangs => std::future::pending().await,
        Manner::Redirects => answer.status(302).header("location", "/elsewhere").body(Body::empty()).unwrap(),
        Manner::Fails => answer.status(500).body(Body::from("no")).unwrap(),
        Manner::Drips => {
            let pace = tokio::time::interval(Duration::from_millis(200));
            let drops = futures::stream::unfold(pace, |mut pace| async {
                pace.tick().await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b".")), pace))
            });
            answer.status(200).body(Body::from_stream(drops)).unwrap()
        }
    }
}
