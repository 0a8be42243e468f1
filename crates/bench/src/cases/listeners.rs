//! Live events at many listeners: 2,000 on one video each, and 20 on the whole feed beside some that read nothing.
//!
//! Jobs render in the simulator, each poll tells a new progress, so events come evenly. When an event was decided stands
//! in the database, which is read when all is over; from there to the listener's socket is the lag, with the commit in it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use longtake_testing::sim::Options;
use rusqlite::Connection as Database;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::gateway::{Gateway, account};
use crate::http::{Connection, get};
use crate::live::{Kind, Listener, Receipt, Receipts, now_us};
use crate::process::{MemoryWatch, cpu_ms, resident_kib};
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::stats::Latencies;
use crate::{Bench, Outcome};

const JOBS: u64 = 2_000;
const JOBS_QUICK: u64 = 200;
/// Each poll tells more than the five points that are told at once.
const WORK_MS: u32 = 36_000;
const POLL_MS: u64 = 2_000;
/// Listeners of the whole feed, half of each kind.
const FEEDS: u32 = 20;
/// Listeners that read nothing, half of each kind.
const SLOW: u32 = 4;
/// What the kernel takes for one of those.
const SLOW_BYTES: u32 = 64 << 10;
/// How long such a one may take nothing.
const WRITE_TIMEOUT_SECS: u64 = 5;
/// How long is measured, in seconds; for some seconds before that, jobs are submitted and listeners connect.
const SECONDS: u64 = 20;
const SECONDS_QUICK: u64 = 12;
/// Between the last connect and the first event that counts, and after the last.
const SETTLE: Duration = Duration::from_secs(1);
/// Longest time for all submissions.
const SUBMIT_BOUND: Duration = Duration::from_secs(60);
const LAG_P99_MS: f64 = 100.0;
const KIB_PER_LISTENER: f64 = 64.0;
const FEEDS_MIB: f64 = 64.0;

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let mut figures = one_video_each(bench).await?;
    figures.extend(whole_feed(bench).await?);
    Ok(figures)
}

/// A gateway with jobs that all render.
struct Stage {
    _simulator: Simulator,
    gateway: Gateway,
    videos: Vec<String>,
}

impl Stage {
    async fn start(bench: &Bench, folder: &Path, jobs: u64) -> Outcome<Self> {
        let options = Options { duration_ms: WORK_MS, ..Options::default() };
        let simulator = Simulator::start(bench, folder, &options).await?;
        let account = account(&simulator.url(), POLL_MS, POLL_MS, "");
        let config = format!("[server]\nwrite_timeout_secs = {WRITE_TIMEOUT_SECS}\n{account}");
        let mut gateway = Gateway::start(bench, folder, &folder.join("data"), &config).await?;
        gateway.create_many(jobs).await?;
        gateway.wait_metric("longtake_submits_accepted", jobs, SUBMIT_BOUND).await?;
        let videos = list(&gateway, jobs).await?;
        Ok(Self { _simulator: simulator, gateway, videos })
    }

    async fn listener(&self, path: &str, kind: Kind, number: u32, bytes: Option<u32>) -> Outcome<Listener> {
        Listener::open(self.gateway.address, self.gateway.key(), path, kind, number, bytes).await
    }
}

/// The ids of all videos.
async fn list(gateway: &Gateway, count: u64) -> Outcome<Vec<String>> {
    let mut connection = Connection::open(gateway.address).await?;
    let mut videos: Vec<String> = Vec::new();
    loop {
        let after = videos.last().map_or_else(String::new, |last| format!("&after={last}"));
        let request = get(gateway.address, &format!("/v1/videos?limit=100{after}"), Some(gateway.key()));
        let body = connection.exchange(&request).await?.good("a list of videos")?;
        let page: Value = serde_json::from_slice(&body).map_err(|error| format!("a list is no JSON: {error}"))?;
        let page = page.get("data").and_then(Value::as_array).ok_or("a list has no data")?;
        if page.is_empty() {
            break;
        }
        videos.extend(page.iter().filter_map(|video| Some(video.get("id")?.as_str()?.to_owned())));
    }
    if videos.len() as u64 == count {
        Ok(videos)
    } else {
        Err(format!("{} of {count} videos are listed", videos.len()))
    }
}

/// What was measured in one window.
struct Window {
    /// Of these listeners and the events of this time.
    seen: Vec<Receipt>,
    from_us: u64,
    to_us: u64,
    highest_kib: u64,
    cpu_ms: u64,
}

/// Lets the listeners follow for a while.
async fn watch(bench: &Bench, stage: &Stage, listeners: Vec<Listener>) -> Outcome<Window> {
    let (receipts, mut following) = (Receipts::default(), JoinSet::new());
    for listener in listeners {
        following.spawn(listener.follow(receipts.clone()));
    }
    let pid = stage.gateway.pid();
    let memory = MemoryWatch::start(pid);
    tokio::time::sleep(SETTLE).await;
    let (from_us, before) = (now_us(), cpu_ms(pid)?);
    tokio::time::sleep(Duration::from_secs(bench.pick(SECONDS, SECONDS_QUICK))).await;
    let (to_us, after) = (now_us(), cpu_ms(pid)?);
    tokio::time::sleep(SETTLE).await;
    while let Some(ended) = following.try_join_next() {
        // A stream ends with its video; anything else is an error.
        ended.map_err(|error| format!("a listener broke off: {error}"))??;
    }
    following.abort_all();
    let (seen, highest_kib) = (receipts.take(), memory.highest_kib());
    Ok(Window { seen, from_us, to_us, highest_kib, cpu_ms: after.saturating_sub(before) })
}

/// When each event was decided, in microseconds since the Unix epoch.
type Decided = HashMap<(u128, u32), u64>;

/// The events of the window, from the database of a gateway that has ended.
fn decided(data: &Path, window: &Window) -> Outcome<Decided> {
    let path = data.join("longtake.db");
    let failed = |error: rusqlite::Error| format!("{}: {error}", path.display());
    let database = Database::open(&path).map_err(failed)?;
    let mut query = database.prepare("SELECT job, ver, at FROM event WHERE at BETWEEN ?1 AND ?2").map_err(failed)?;
    let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
    let rows = query.query_map([signed(window.from_us), signed(window.to_us)], |row| {
        let job: [u8; 16] = row.get(0)?;
        Ok(((u128::from_be_bytes(job), row.get(1)?), u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0)))
    });
    rows.map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

/// Lags of what came to some listeners, and how many deliveries there were to be.
struct Delivered {
    lags: Latencies,
    wanted: u64,
    came: u64,
}

impl Delivered {
    /// Of the listeners that `is_meant`, which hear of an event each if `hears`.
    fn of(window: &Window, decided: &Decided, wanted: u64, is_meant: impl Fn(u32) -> bool) -> Self {
        let mut seen = HashSet::new();
        let mine = window.seen.iter().filter(|receipt| is_meant(receipt.listener));
        let lags: Vec<u64> = mine
            .filter(|receipt| seen.insert((receipt.listener, receipt.job, receipt.number)))
            .filter_map(|receipt| Some(receipt.at_us.saturating_sub(*decided.get(&(receipt.job, receipt.number))?)))
            .collect();
        Self { came: lags.len() as u64, lags: Latencies::of_micros(lags), wanted }
    }

    fn figure(&self, what: String, window: &Window) -> Figure {
        let seconds = window.to_us.saturating_sub(window.from_us) as f64 / 1_000_000.0;
        let rate = self.came as f64 / seconds;
        let cpu = window.cpu_ms as f64 / 10.0 / seconds;
        let shown = format!(
            "{}, highest {:.0} ms; {} of {} deliveries ({rate:.0}/s); server at {cpu:.0} % of a core",
            self.lags.show(),
            self.lags.at(100.0),
            self.came,
            self.wanted
        );
        let reached = self.came > 0 && self.came == self.wanted && self.lags.at(99.0) <= LAG_P99_MS;
        Figure::absolute(what, shown, reached, format!("p99 <= {LAG_P99_MS} ms, none lost"))
    }
}

async fn one_video_each(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("listeners-video")?;
    let jobs = bench.pick(JOBS, JOBS_QUICK);
    let stage = Stage::start(bench, &folder, jobs).await?;
    let base_kib = resident_kib(stage.gateway.pid())?;
    let mut listeners = Vec::new();
    for (number, video) in (0..).zip(&stage.videos) {
        listeners.push(stage.listener(&format!("/v1/videos/{video}/events"), Kind::Stream, number, None).await?);
    }
    let window = watch(bench, &stage, listeners).await?;
    let data = stage.gateway.data.clone();
    stage.gateway.kill();
    let decided = decided(&data, &window)?;
    let delivered = Delivered::of(&window, &decided, decided.len() as u64, |_| true);
    let each = window.highest_kib.saturating_sub(base_kib) as f64 / jobs as f64;
    Ok(vec![
        delivered.figure(format!("{jobs} listeners, each on one video: from the decision to the socket"), &window),
        Figure::absolute(
            format!("memory of each of {jobs} listeners on one video"),
            format!("{each:.1} KiB ({} MiB before, highest {} MiB)", base_kib >> 10, window.highest_kib >> 10),
            each <= KIB_PER_LISTENER,
            format!("<= {KIB_PER_LISTENER} KiB"),
        ),
    ])
}

/// Even numbers are streams, odd ones sockets.
const fn kind_of(number: u32) -> Kind {
    if number.is_multiple_of(2) { Kind::Stream } else { Kind::Socket }
}

const fn path_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Stream => "/v1/events",
        Kind::Socket => "/v1/events/ws",
    }
}

async fn whole_feed(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("listeners-feed")?;
    let stage = Stage::start(bench, &folder, bench.pick(JOBS, JOBS_QUICK)).await?;
    let base_kib = resident_kib(stage.gateway.pid())?;
    let (mut listeners, mut slow) = (Vec::new(), JoinSet::new());
    for number in 0..FEEDS + SLOW {
        let kind = kind_of(number);
        let bytes = (number >= FEEDS).then_some(SLOW_BYTES);
        let listener = stage.listener(path_of(kind), kind, number, bytes).await?;
        if number < FEEDS {
            listeners.push(listener);
        } else {
            slow.spawn(listener.until_dropped());
        }
    }
    let window = watch(bench, &stage, listeners).await?;
    let mut dropped = Vec::new();
    while let Some(ended) = slow.try_join_next() {
        dropped.push(ended.map_err(|error| format!("a listener that reads nothing: {error}"))??);
    }
    let data = stage.gateway.data.clone();
    stage.gateway.kill();
    let decided = decided(&data, &window)?;
    let half = FEEDS / 2;
    let mut figures = Vec::new();
    for (kind, name) in [(Kind::Stream, "server-sent events"), (Kind::Socket, "WebSocket")] {
        let wanted = decided.len() as u64 * u64::from(half);
        let delivered = Delivered::of(&window, &decided, wanted, |listener| kind_of(listener) == kind);
        let what = format!("{half} of {FEEDS} listeners on the whole feed, by {name}: from the decision to the socket");
        figures.push(delivered.figure(what, &window));
    }
    let above = window.highest_kib.saturating_sub(base_kib) as f64 / 1_024.0;
    figures.push(Figure::absolute(
        format!("memory for {FEEDS} listeners on the whole feed and {SLOW} that read nothing"),
        format!("{above:.1} MiB above {} MiB", base_kib >> 10),
        above <= FEEDS_MIB,
        format!("<= {FEEDS_MIB} MiB"),
    ));
    let last = dropped.iter().max().map_or(0.0, Duration::as_secs_f64);
    figures.push(Figure::absolute(
        format!("listeners that read nothing and are dropped, of {SLOW}, after {WRITE_TIMEOUT_SECS} s in which they took nothing"),
        format!("{}, the last of them {last:.1} s after it began to listen", dropped.len()),
        dropped.len() == SLOW as usize,
        "all while it is measured",
    ));
    Ok(figures)
}
