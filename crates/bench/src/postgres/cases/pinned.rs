//! Gate 7: somebody's old snapshot keeps dead rows from being removed; how much slower whole lives become, and how soon
//! they recover.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::postgres::life::{Life, connect};
use crate::postgres::server::{Server, Sql};
use crate::report::Figure;
use crate::{Bench, Outcome};

const LOSS: f64 = 4.0;
const BACK_SHARE: f64 = 0.9;
const BACK_SECS: usize = 10;
const DRIVERS: usize = 2;
const BATCH: usize = 100;
/// Seconds over which a throughput is the mean.
const WINDOW: usize = 5;

/// Seconds of each part.
struct Times {
    warm_up: usize,
    before: usize,
    pinned: usize,
    after: usize,
}

const TIMES: Times = Times { warm_up: 5, before: 15, pinned: 60, after: 25 };
const TIMES_QUICK: Times = Times { warm_up: 1, before: 5, pinned: 8, after: 8 };

pub async fn run(bench: Bench) -> Outcome<Vec<Figure>> {
    let times = bench.pick(TIMES, TIMES_QUICK);
    let server = Server::start(&bench)?;
    let url = server.database("pinned");
    let load = Load::start(&url).await?;
    load.seconds(times.warm_up).await;
    let before = mean(&load.seconds(times.before).await);
    let pin = Sql::connect(&url).await?;
    pin.run("begin isolation level repeatable read; select count(*) from job").await?;
    let pinned = load.seconds(times.pinned).await;
    pin.run("rollback").await?;
    let after = load.seconds(times.after).await;
    load.end().await?;
    let worst = pinned.windows(WINDOW).map(mean).fold(f64::MAX, f64::min);
    let loss = before / worst.max(f64::MIN_POSITIVE);
    // The window that begins this many seconds after the release.
    let back = after.windows(WINDOW).position(|window| mean(window) >= BACK_SHARE * before);
    let rates = format!(
        "{before:.0} jobs/s before, worst {WINDOW} s {worst:.0}, last {:.0}",
        mean(&pinned[pinned.len() - WINDOW..])
    );
    Ok(vec![
        Figure {
            peer: rates,
            ..Figure::absolute(
                format!("PostgreSQL: loss of throughput while a snapshot is held for {} s", times.pinned),
                format!("{loss:.2} x"),
                loss <= LOSS,
                format!("<= {LOSS} x"),
            )
        },
        Figure {
            peer: format!("last {WINDOW} s: {:.0} jobs/s", mean(&after[after.len() - WINDOW..])),
            ..Figure::absolute(
                "PostgreSQL: back to 90 % after its release",
                back.map_or_else(|| format!("not within {} s", times.after), |seconds| format!("after {seconds} s")),
                back.is_some_and(|seconds| seconds <= BACK_SECS),
                format!("<= {BACK_SECS} s"),
            )
        },
    ])
}

fn mean(rates: &[f64]) -> f64 {
    rates.iter().sum::<f64>() / rates.len().max(1) as f64
}

/// Whole lives of jobs in batches, by some executors at once, until told to end.
pub struct Load {
    drivers: JoinSet<Outcome>,
    jobs: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub async fn start(url: &str) -> Outcome<Self> {
        let (jobs, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut drivers = JoinSet::new();
        for _ in 0..DRIVERS {
            let life = Life::begin(connect(url, 4).await?).await?;
            let (jobs, stop) = (Arc::clone(&jobs), Arc::clone(&stop));
            drivers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let done = life.whole(BATCH).await?;
                    jobs.fetch_add(done as u64, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Ok(Self { drivers, jobs, stop })
    }

    /// Jobs of each of the next seconds.
    pub async fn seconds(&self, count: usize) -> Vec<f64> {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.tick().await;
        let (mut rates, mut before) = (Vec::with_capacity(count), self.jobs.load(Ordering::Relaxed));
        for _ in 0..count {
            ticks.tick().await;
            let now = self.jobs.load(Ordering::Relaxed);
            rates.push((now - before) as f64);
            before = now;
        }
        rates
    }

    /// Whether all went well.
    pub async fn end(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.drivers.join_next().await {
            ended.map_err(|error| format!("a driver broke off: {error}"))??;
        }
        Ok(())
    }
}
