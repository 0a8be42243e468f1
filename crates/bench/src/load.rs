//! Closed-loop load: each client sends its next request when it has its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Outcome;
use crate::http::Connection;
use crate::stats::Latencies;

/// When the load ends.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After this many requests.
    Count(u64),
    /// After this time.
    Time(Duration),
}

/// What a load saw.
pub struct Load {
    pub per_second: f64,
    pub latencies: Latencies,
}

/// Number of the request → its bytes.
pub type Make = Arc<dyn Fn(u64) -> Vec<u8> + Send + Sync>;

/// Runs `clients` connections until the end; any answer but 2xx is an error.
pub async fn run(address: SocketAddr, clients: usize, until: Until, make: &Make) -> Outcome<Load> {
    let next = Arc::new(AtomicU64::new(0));
    let (last, end) = match until {
        Until::Count(count) => (count, None),
        Until::Time(time) => (u64::MAX, Some(time)),
    };
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let mut connection = Connection::open(address).await?;
        let (make, next) = (Arc::clone(make), Arc::clone(&next));
        tasks.spawn(async move {
            let mut micros = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= last || end.is_some_and(|end| started.elapsed() >= end) {
                    return Ok::<_, String>(micros);
                }
                let request = make(number);
                let sent = Instant::now();
                connection.exchange(&request).await?.good("a request of the load")?;
                micros.push(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
        });
    }
    let mut all = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        all.extend(ended.map_err(|error| format!("a client of the load broke off: {error}"))??);
    }
    let took = started.elapsed().as_secs_f64();
    Ok(Load { per_second: all.len() as f64 / took, latencies: Latencies::of_micros(all) })
}
