//! How soon after its commit an event is at a receiver: a burst of 200, and with half of the receivers dead.
//!
//! Arrivals are taken from the wall clock of this machine, commits from the rows.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path as InPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use longtake_testing::sim::Options;
use rusqlite::{Connection as Database, OpenFlags};
use serde_json::json;
use tokio::net::TcpListener;

use crate::gateway::{Gateway, account};
use crate::http::{Connection, send_json};
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::stats::Latencies;
use crate::{Bench, Outcome};

/// Creates of one burst: an event each, and two more as they are submitted and accepted.
const BURST: u64 = 200;
const RECEIVERS: usize = 10;
/// Longest time until everything has arrived.
const BOUND: Duration = Duration::from_secs(60);
const P95_MS: f64 = 100.0;
/// Until the first poll of a job, in milliseconds: none is made here.
const POLL_MS: u64 = 600_000;

/// Microseconds since the Unix epoch at which an event arrived first, by receiver and event.
type Arrivals = Arc<Mutex<HashMap<(usize, String), i64>>>;

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("webhooks")?;
    let mut figures = Vec::new();
    for (what, receivers, dead) in [
        ("one receiver", 1, 0),
        ("ten receivers", RECEIVERS, 0),
        ("ten receivers of which five never answer", RECEIVERS, RECEIVERS / 2),
    ] {
        let latencies = measure(bench, &folder.join(format!("{receivers}-{dead}")), receivers, dead).await?;
        figures.push(Figure::absolute(
            format!("webhooks: commit to arrival, a burst of {BURST} creates, {what}, {} deliveries", latencies.len()),
            format!("p50 {:.1}, p95 {:.1}, p99 {:.1} ms", latencies.at(50.0), latencies.at(95.0), latencies.at(99.0)),
            latencies.at(95.0) <= P95_MS,
            format!("p95 <= {P95_MS:.0} ms"),
        ));
    }
    Ok(figures)
}

async fn measure(bench: &Bench, folder: &Path, receivers: usize, dead: usize) -> Outcome<Latencies> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let simulator = Simulator::start(bench, folder, &Options { duration_ms: u32::MAX, ..Options::default() }).await?;
    let config = format!(
        "[webhooks]\nallow_networks = [\"127.0.0.0/8\"]\nallow_http = true\n{}",
        account(&simulator.url(), POLL_MS, POLL_MS, "")
    );
    let data = folder.join("data");
    let gateway = Gateway::start(bench, folder, &data, &config).await?;
    let (url, arrivals) = listen(dead).await?;
    for receiver in 0..receivers {
        let body = json!({"url": format!("{url}/{receiver}")}).to_string();
        let request = send_json("POST", gateway.address, "/v1/webhook_endpoints", Some(gateway.key()), &body);
        Connection::open(gateway.address).await?.exchange(&request).await?.good("an endpoint")?;
    }
    gateway.create_many(BURST).await?;
    let alive = receivers - dead;
    let wanted = usize::try_from(3 * BURST).unwrap_or(usize::MAX) * alive;
    let count = || arrivals.lock().unwrap_or_else(PoisonError::into_inner).len();
    let started = std::time::Instant::now();
    while count() < wanted {
        if started.elapsed() > BOUND {
            return Err(format!("{} of {wanted} deliveries arrived within {BOUND:?}", count()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let commits = commits(&data.join("longtake.db"))?;
    gateway.kill();
    let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let latencies = arrivals.iter().map(|((_, event), at)| {
        let committed = commits.get(event).ok_or_else(|| format!("{event} arrived and is no event"))?;
        Ok(u64::try_from(at - committed).unwrap_or(0))
    });
    Ok(Latencies::of_micros(latencies.collect::<Outcome<Vec<u64>>>()?))
}

/// A server for all receivers, the first `dead` of which never answer.
async fn listen(dead: usize) -> Outcome<(String, Arrivals)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let url = format!("http://{}", listener.local_addr().map_err(|error| error.to_string())?);
    let arrivals = Arrivals::default();
    let app = Router::new().route("/{receiver}", post(receive)).with_state((dead, Arc::clone(&arrivals)));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok((url, arrivals))
}

async fn receive(
    State((dead, arrivals)): State<(usize, Arrivals)>,
    InPath(receiver): InPath<usize>,
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

/// When each event was committed, in microseconds since the Unix epoch, by its public id.
fn commits(database: &Path) -> Outcome<HashMap<String, i64>> {
    let failed = |error: rusqlite::Error| format!("{}: {error}", database.display());
    let rows = Database::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let sql = "select 'evt_video_' || lower(hex(job)) || '_' || ver, at from event";
    let mut statement = rows.prepare(sql).map_err(failed)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}
