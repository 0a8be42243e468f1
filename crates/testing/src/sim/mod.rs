//! One server that speaks the wire of every simulated vendor, bills what it accepts, and misbehaves on request.
//!
//! [`Simulator`] runs it in this process on a thread of its own; [`SimulatorProcess`] runs `longtake-sim`, which
//! outlives a killed gateway. Paths: `/v1/videos…` (OpenAI shape), `/v2/…` and `/v1/…` (MiniMax), `/results/…`
//! (result bytes), `/_sim/…` (control). What one create goes through stands in `submit.rs`.
//! Absent: TLS, and any check of a credential beyond equality.

mod callbacks;
mod connection;
mod control;
mod faults;
mod jobs;
mod ledger;
mod minimax_codes;
mod minimax_content;
mod minimax_v1;
mod minimax_v2;
mod openai;
mod openai_fields;
mod options;
mod poll;
mod poll_record;
mod process;
mod results;
mod submit;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use tokio::net::TcpListener;

pub use faults::{CreateFault, Faults, ProgressReport};
pub use ledger::{Ending, Entry, Ledger, Vendor};
pub use options::{Flavour, Options};
pub use process::{SimulatorProcess, simulator_binary};

use crate::background::Background;
use connection::{Connection, CuttableListener};
use faults::FaultPlan;
use jobs::JobTable;

/// Largest request body, as MiniMax documents it.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    options: Options,
    /// Where result links point.
    base_url: String,
    table: Arc<Mutex<JobTable>>,
    plan: Mutex<FaultPlan>,
    videos: Mutex<HashMap<u32, Bytes>>,
    callbacks: callbacks::Watched,
    poll_record: poll_record::PollRecord,
    requests: AtomicU64,
}

impl Shared {
    fn authorized(&self, headers: &HeaderMap) -> bool {
        let Some(key) = &self.options.api_key else { return true };
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        sent.and_then(|value| value.strip_prefix("Bearer ")) == Some(key)
    }

    fn set_faults(&self, mut faults: Faults) {
        if std::mem::take(&mut faults.forget) {
            self.table.lock().unwrap().forget_all(now_micros());
        }
        *self.plan.lock().unwrap() = FaultPlan::new(faults);
    }
}

/// Microseconds since the Unix epoch.
fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_micros() as u64
}

/// A running simulator; dropping it stops it and resets its connections. The ledger file stays.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    background: Background,
}

impl Simulator {
    /// Starts a simulator; it listens when this returns.
    ///
    /// # Panics
    /// When the address cannot be bound or the ledger cannot be opened.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let listener = StdListener::bind(options.listen).expect("the simulator's address can be bound");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let table = JobTable::open(options.seed, options.ledger.as_deref()).expect("the ledger can be opened");
        let workers = options.worker_threads;
        let shared = Arc::new(Shared {
            base_url: options.public_url.clone().unwrap_or_else(|| format!("http://{address}")),
            table: Arc::new(Mutex::new(table)),
            plan: Mutex::new(FaultPlan::default()),
            videos: Mutex::new(HashMap::new()),
            callbacks: callbacks::Watched::default(),
            poll_record: poll_record::PollRecord::default(),
            requests: AtomicU64::new(0),
            options,
        });
        shared.set_faults(shared.options.faults.clone());
        let served = Arc::clone(&shared);
        let background = Background::start("simulator", workers, move || async move {
            let listener = TcpListener::from_std(listener).expect("the runtime takes the socket");
            let service = router(&served).into_make_service_with_connect_info::<Connection>();
            tokio::spawn(callbacks::run(Arc::clone(&served)));
            let ended = axum::serve(CuttableListener(listener), service).await;
            ended.expect("serving has no end");
        });
        Self { address, shared, background }
    }

    /// Base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The billing ledger, live.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::of(Arc::clone(&self.shared.table))
    }

    /// Replaces all faults and starts their counts anew.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.set_faults(faults);
    }

    /// The faults in force; what is left of the script stands in `next_creates`.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.shared.plan.lock().unwrap().faults.clone()
    }

    /// Requests received so far, of every kind but control.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Stops the simulator and resets its connections.
    pub fn shutdown(mut self) {
        self.background.stop();
    }

    /// Serves until the process ends.
    pub fn serve_forever(self) {
        self.background.join();
    }
}

fn router(shared: &Arc<Shared>) -> Router {
    let counted = Arc::clone(shared);
    let vendors = Router::new()
        .merge(openai::routes())
        .merge(minimax_v2::routes())
        .merge(minimax_v1::routes())
        .merge(results::routes())
        .layer(axum::middleware::map_request(move |request: axum::extract::Request| {
            counted.requests.fetch_add(1, Ordering::Relaxed);
            std::future::ready(request)
        }));
    vendors
        .merge(control::routes())
        .merge(poll_record::routes())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::clone(shared))
}
