//! `/metrics`: what the front door, the engine, the store and the process count. Names: docs/metrics.md.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::Method;
use http::header::CONTENT_TYPE;
use longtake_core::state::StateName;
use longtake_core::store::StoreStats;
use longtake_engine::{EngineMetrics, Hub};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::auth::Reader;
use super::error::{ApiError, ErrorBody, ErrorCode};
use crate::app::App;

/// Upper bounds of the latency histogram, in seconds: long polls reach a minute.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: String,
}

/// What the front door counts. One per server, so that tests can run several.
pub struct HttpMetrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
}

impl HttpMetrics {
    /// Nothing yet, by a process with this role.
    pub fn new(role: &'static str) -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        registry.register("longtake_http_requests", "Requests answered", requests.clone());
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let seconds = Family::new_with_constructor(histogram);
        let help = "Seconds from a request's headers to its response's headers";
        registry.register("longtake_http_request_duration_seconds", help, seconds.clone());
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION")), ("role", role)]);
        registry.register("longtake_build", "The running version, and what the process does", build);
        Self { registry, requests, seconds }
    }

    /// Counts one answered request. `route` is the pattern, so that ids make no labels.
    pub fn record(&self, route: &str, method: &Method, status: u16, took: Duration) {
        let known =
            [Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::PUT, Method::PATCH, Method::OPTIONS];
        let method = if known.contains(method) { method.as_str() } else { "other" };
        let (route, method) = (route.to_owned(), method.to_owned());
        let labels = RequestLabels { route: route.clone(), method: method.clone(), status };
        self.requests.get_or_create(&labels).inc();
        self.seconds.get_or_create(&RouteLabels { route, method }).observe(took.as_secs_f64());
    }
}

/// Serves all figures in Prometheus' text form.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operation",
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text"), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub async fn metrics(State(app): State<App>, _caller: Reader) -> Result<Response, ApiError> {
    let snapshot = Snapshot::take(app.engine.metrics(), app.engine.hub(), &app.store.stats().await?);
    let mut now = Registry::default();
    now.register_collector(Box::new(snapshot));
    let mut text = String::new();
    let written = encode_registry(&mut text, &app.metrics.registry)
        .and_then(|()| encode_registry(&mut text, &now))
        .and_then(|()| encode_eof(&mut text));
    written.map_err(|_| ApiError::new(ErrorCode::InternalError, "the figures could not be written"))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

/// Figures as they are at one scrape.
#[derive(Debug, Default)]
struct Snapshot {
    counters: Vec<(&'static str, &'static str, u64)>,
    gauges: Vec<(&'static str, &'static str, i64)>,
    poll_lag_seconds: f64,
    horizon_age_seconds: f64,
    jobs: Vec<(&'static str, i64)>,
}

impl Snapshot {
    fn take(engine: &EngineMetrics, hub: &Hub, store: &StoreStats) -> Self {
        let live = |state: StateName| clamp(store.live.get(&state.number()).copied().unwrap_or(0));
        let held = live(StateName::Held);
        let listeners = clamp(u64::try_from(hub.feed_listeners()).unwrap_or(u64::MAX));
        Self {
            counters: engine_counters(engine),
            gauges: vec![
                ("longtake_held", "Jobs that wait for a person or a policy", held),
                ("longtake_watched", "Late attempts being watched", clamp(store.watched)),
                ("longtake_orphans", "Provider jobs nobody accounts for", clamp(store.orphans)),
                ("longtake_work_due", "Work that is due and has no owner", clamp(store.due)),
                ("longtake_executors_alive", "Executors that beat within their ttl", clamp(store.executors)),
                ("longtake_database_connections", "Database connections in use", clamp(store.connections.0)),
                (
                    "longtake_database_connections_waited_for",
                    "Calls that wait for a database connection",
                    clamp(store.connections.1),
                ),
                ("longtake_owned", "Work owned by this process", gauge(&engine.owned)),
                (
                    "longtake_fair_share",
                    "Work this process would own if each had its share of the accounts that several drive",
                    gauge(&engine.fair_share),
                ),
                ("longtake_calls_in_flight", "Calls to providers under way", gauge(&engine.calls_in_flight)),
                ("longtake_sends_in_flight", "Submissions under way", gauge(&engine.sends_in_flight)),
                (
                    "longtake_waiting_for_account",
                    "Jobs waiting for a slot of their account",
                    gauge(&engine.waiting_for_account),
                ),
                ("longtake_webhooks_in_flight", "Webhooks under way", gauge(&engine.webhooks_in_flight)),
                ("longtake_feed_listeners", "Streams that follow the events of all videos", listeners),
                ("process_resident_memory_bytes", "Memory of this process", resident_bytes()),
                ("process_open_fds", "Open files and sockets of this process", open_files()),
            ],
            poll_lag_seconds: Duration::from_millis(load(&engine.poll_lag_ms_sum)).as_secs_f64(),
            horizon_age_seconds: store.horizon_age.as_secs_f64(),
            jobs: StateName::ALL
                .into_iter()
                .filter(|state| !state.is_terminal())
                .map(|state| (state.word(), live(state)))
                .collect(),
        }
    }
}

fn engine_counters(engine: &EngineMetrics) -> Vec<(&'static str, &'static str, u64)> {
    vec![
        ("longtake_jobs_completed", "Jobs completed", load(&engine.jobs_completed)),
        ("longtake_jobs_failed", "Jobs failed", load(&engine.jobs_failed)),
        ("longtake_jobs_canceled", "Jobs canceled", load(&engine.jobs_canceled)),
        ("longtake_jobs_held", "Jobs that began to be held", load(&engine.jobs_held)),
        ("longtake_late_results", "Late results stored", load(&engine.late_results)),
        ("longtake_polls", "Polls of provider jobs", load(&engine.polls)),
        ("longtake_poll_errors", "Polls without a usable answer", load(&engine.poll_errors)),
        ("longtake_submits", "Submissions sent", load(&engine.submits)),
        ("longtake_submits_accepted", "Submissions accepted", load(&engine.submits_accepted)),
        ("longtake_submits_unknown", "Submissions whose outcome was unknown", load(&engine.submits_unknown)),
        ("longtake_submits_refused", "Submissions refused", load(&engine.submits_refused)),
        ("longtake_lookups", "Look-ups of lost submissions", load(&engine.lookups)),
        ("longtake_adopted", "Lost submissions found again", load(&engine.adopted)),
        ("longtake_rate_limited", "Answers \"too many requests\" of providers", load(&engine.rate_limited)),
        ("longtake_unknown_statuses", "Status words no adapter knows", load(&engine.unknown_statuses)),
        ("longtake_artifacts_stored", "Outputs stored and verified", load(&engine.artifacts_stored)),
        ("longtake_artifact_bytes", "Bytes of outputs stored", load(&engine.artifact_bytes)),
        ("longtake_artifact_errors", "Copies of outputs that failed", load(&engine.artifact_errors)),
        ("longtake_retention_jobs", "Jobs removed by retention", load(&engine.retention_jobs)),
        ("longtake_retention_events", "Events removed by retention", load(&engine.retention_events)),
        ("longtake_retention_artifacts", "Objects removed by retention", load(&engine.retention_artifacts)),
        ("longtake_retention_errors", "Errors of retention; it goes on later", load(&engine.retention_errors)),
        ("longtake_webhooks_delivered", "Webhooks that their receiver took", load(&engine.webhooks_delivered)),
        ("longtake_webhooks_failed", "Tries of webhooks that came to anything else", load(&engine.webhooks_failed)),
        ("longtake_webhook_milliseconds", "Milliseconds that tries of webhooks took", load(&engine.webhook_ms_sum)),
        ("longtake_stale_steps", "Decisions refused because another owner had taken over", load(&engine.stale_steps)),
    ]
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn gauge(value: &AtomicU64) -> i64 {
    clamp(load(value))
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in &self.counters {
            ConstCounter::new(*value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let help = "Seconds that polls began later than planned, summed";
        let lag = encoder.encode_descriptor("longtake_poll_lag_seconds", help, None, MetricType::Counter)?;
        ConstCounter::new(self.poll_lag_seconds).encode(lag)?;
        let help = "Seconds for which the oldest transaction under way has kept the feed from settling";
        let age = encoder.encode_descriptor("longtake_feed_horizon_age_seconds", help, None, MetricType::Gauge)?;
        ConstGauge::new(self.horizon_age_seconds).encode(age)?;
        for (name, help, value) in &self.gauges {
            ConstGauge::new(*value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let mut jobs = encoder.encode_descriptor("longtake_jobs", "Unfinished jobs", None, MetricType::Gauge)?;
        for (state, value) in &self.jobs {
            ConstGauge::new(*value).encode(jobs.encode_family(&[("state", *state)])?)?;
        }
        Ok(())
    }
}

/// From `/proc`; 0 where there is none.
fn resident_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok()).unwrap_or(0);
    kib.saturating_mul(1_024)
}

fn open_files() -> i64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(i64::MAX))
}
