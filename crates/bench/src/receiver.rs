//! Receivers of webhooks: one server for all of them, which notes when each event arrived first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Outcome;
use crate::gateway::Gateway;
use crate::http::{Connection, send_json};

/// What a gateway's config needs so that it sends to this machine.
pub const CONFIG: &str = "[webhooks]\nallow_networks = [\"127.0.0.0/8\"]\nallow_http = true\n";
/// Between two counts of what has arrived.
const LOOK: Duration = Duration::from_millis(20);

/// Microseconds since the Unix epoch at which an event arrived first, by receiver and public id of the event.
pub type Arrivals = HashMap<(usize, String), i64>;

/// What the server's handlers share: receivers below this number never answer.
type Shared = (usize, Arc<Mutex<Arrivals>>);

/// A running server.
pub struct Receivers {
    url: String,
    arrivals: Arc<Mutex<Arrivals>>,
    serving: JoinHandle<()>,
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receivers {
    /// Starts it; the first `dead` receivers never answer.
    pub async fn start(dead: usize) -> Outcome<Self> {
        let failed = |error: std::io::Error| format!("receivers of webhooks: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let arrivals = Arc::<Mutex<Arrivals>>::default();
        let app = Router::new().route("/{receiver}", post(receive)).with_state((dead, Arc::clone(&arrivals)));
        // It ends with this value; what it ends with says nothing more.
        let serving = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
        Ok(Self { url, arrivals, serving })
    }

    /// Makes an endpoint of this receiver that wants these types; all, if none is named.
    pub async fn subscribe(&self, gateway: &Gateway, receiver: usize, types: &[&str]) -> Outcome {
        let mut body = json!({"url": format!("{}/{receiver}", self.url)});
        if !types.is_empty() {
            body["events"] = json!(types);
        }
        let path = "/v1/webhook_endpoints";
        let request = send_json("POST", gateway.address, path, Some(gateway.key()), &body.to_string());
        Connection::open(gateway.address).await?.exchange(&request).await?.good("an endpoint").map(drop)
    }

    /// Waits until so many different deliveries have arrived.
    pub async fn wait(&self, wanted: usize, bound: Duration) -> Outcome {
        let started = Instant::now();
        loop {
            let count = self.lock().len();
            if count >= wanted {
                return Ok(());
            }
            if started.elapsed() > bound {
                return Err(format!("{count} of {wanted} deliveries arrived within {bound:?}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What has arrived.
    pub fn take(&self) -> Arrivals {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn receive(
    State((dead, arrivals)): State<Shared>,
    Path(receiver): Path<usize>,
    headers: HeaderMap,
) -> StatusCode {
    if receiver < dead {
        std::future::pending::<()>().await;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    arrivals.entry((receiver, id)).or_insert(i64::try_from(now).unwrap_or(i64::MAX));
    StatusCode::NO_CONTENT
}
