//! Gate 6: nothing is lost behind 24 writers, live events arrive soon, and a long transaction elsewhere delays only what
//! must be settled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longtake_core::feed::{FeedCursor, FeedEvent, FeedPage};
use longtake_core::id::JobId;
use longtake_core::store::Store;
use longtake_core::time::Clock;
use tokio::task::JoinHandle;

use super::feed_writers::{MOST_EVENTS, Pace, WRITERS, write};
use crate::postgres::life::{Life, WallClock, connect, of_store};
use crate::postgres::server::{Server, Sql, failed};
use crate::report::Figure;
use crate::stats::Latencies;
use crate::{Bench, Outcome};

const EVENTS: u64 = 1_000_000;
const EVENTS_QUICK: u64 = 50_000;
/// Events per second of the even phases, each transaction with this many.
const PER_SECOND: u64 = 5_000;
const EACH: u64 = 10;
const LAG_MS: f64 = 100.0;
/// Between two pages of a feed that has caught up, and two looks at a tail where the store does not say.
const PAUSE: Duration = Duration::from_millis(20);
/// For what is under way when the writers end.
const CATCH_UP: Duration = Duration::from_secs(120);

/// What a reader has seen: of each job a bit for each event.
#[derive(Default)]
struct Seen {
    jobs: HashMap<JobId, u64>,
    events: u64,
    repeated: u64,
    lags_us: Vec<u64>,
}

impl Seen {
    fn take(&mut self, events: impl Iterator<Item = FeedEvent>) {
        let now = WallClock.now();
        for FeedEvent { event, .. } in events {
            let bit = 1_u64 << (u64::from(event.ver) % (MOST_EVENTS + 1));
            let known = self.jobs.entry(event.job).or_default();
            if *known & bit == 0 {
                *known |= bit;
                self.events += 1;
                self.lags_us.push(u64::try_from(now.since(event.at).as_micros()).unwrap_or(u64::MAX));
            } else {
                self.repeated += 1;
            }
        }
    }
}

/// A reader on a task of its own: goes on until it is told that no more is written, and has seen so many or waited long.
struct Reader {
    task: JoinHandle<Outcome<Seen>>,
    done: Arc<AtomicBool>,
}

impl Reader {
    /// Pages of the feed, from now on.
    async fn feed(store: &Arc<dyn Store>) -> Outcome<Self> {
        let begin = store.feed(None, None, FeedPage::MAX_EVENTS).await.map_err(of_store)?.next;
        let (store, done) = (Arc::clone(store), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&done);
        Ok(Self { task: tokio::spawn(async move { follow_feed(&*store, begin, &ended).await }), done })
    }

    /// The tail, from now on.
    async fn tail(store: &Arc<dyn Store>) -> Outcome<Self> {
        let (_, begin) = store.tail(None).await.map_err(of_store)?;
        let (store, done) = (Arc::clone(store), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&done);
        let task = tokio::spawn(async move {
            let pause = store.tail_interval().unwrap_or(PAUSE);
            let (mut seen, mut tail) = (Seen::default(), begin);
            loop {
                let last = ended.load(Ordering::Acquire);
                let (events, next) = store.tail(Some(tail)).await.map_err(of_store)?;
                let none = events.is_empty();
                seen.take(events.into_iter());
                if last && none {
                    return Ok(seen);
                }
                tail = next;
                tokio::time::sleep(pause).await;
            }
        });
        Ok(Self { task, done })
    }

    /// Everything is committed: it reads to the end.
    async fn finish(self) -> Outcome<Seen> {
        self.done.store(true, Ordering::Release);
        self.task.await.map_err(|error| format!("a reader broke off: {error}"))?
    }
}

async fn follow_feed(store: &dyn Store, begin: FeedCursor, ended: &AtomicBool) -> Outcome<Seen> {
    let (mut seen, mut cursor) = (Seen::default(), begin);
    let mut over: Option<Instant> = None;
    loop {
        let last = ended.load(Ordering::Acquire);
        let page = store.feed(None, Some(cursor), FeedPage::MAX_EVENTS).await.map_err(of_store)?;
        cursor = page.next;
        let (none, caught_up) = (page.events.is_empty(), page.caught_up);
        seen.take(page.events.into_iter().map(|(_, event)| event));
        if last && none && caught_up {
            return Ok(seen);
        }
        if last && over.get_or_insert_with(Instant::now).elapsed() > CATCH_UP {
            return Err(format!("the feed had not caught up {CATCH_UP:?} after the last write"));
        }
        if caught_up {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What an even phase showed.
struct Phase {
    written: u64,
    tail: Seen,
    feed: Seen,
}

pub async fn run(bench: Bench) -> Outcome<Vec<Figure>> {
    let server = Server::start(&bench)?;
    let url = server.database("feed");
    let store = connect(&url, 10).await?;
    let life = Life::begin(Arc::clone(&store)).await?;
    life.whole(1).await?;
    let sql = Sql::connect(&url).await?;
    let row = sql.client().query_one("select body from event where type = 6 limit 1", &[]).await;
    let body: String = row.map_err(|error| failed("a body", &error))?.get(0);

    let events = bench.pick(EVENTS, EVENTS_QUICK);
    let started = Instant::now();
    let reader = Reader::feed(&store).await?;
    let written = write(&url, &body, events, Pace::Free).await?;
    let (wrote, seen) = (started.elapsed(), reader.finish().await?);
    let read = started.elapsed();
    let mut figures = vec![none_lost(
        format!("PostgreSQL: feed of {written} events of {WRITERS} writers"),
        written,
        &[&seen],
        format!(
            "written at {:.0}/s, read to the end at {:.0}/s",
            written as f64 / wrote.as_secs_f64(),
            written as f64 / read.as_secs_f64()
        ),
    )];
    let seconds = bench.pick(15, 4);
    let calm = phase(&store, &url, &body, seconds).await?;
    figures.push(live(format!("PostgreSQL: live lag at {PER_SECOND} events/s, {WRITERS} writers"), &calm));
    figures.push(Figure::stated(
        format!("PostgreSQL: settled feed, lag at {PER_SECOND} events/s"),
        Latencies::of_micros(calm.feed.lags_us.iter().copied()).show(),
        String::new(),
    ));

    let stall = Sql::connect(&url).await?;
    stall.run("begin; select pg_current_xact_id()").await?;
    let (stalled, after) = tokio::join!(phase(&store, &url, &body, seconds), async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        stall.run("rollback").await
    });
    after?;
    let stalled = stalled?;
    figures.push(live(format!("PostgreSQL: live lag while a transaction holds the horizon for {seconds} s"), &stalled));
    let longest = stalled.feed.lags_us.iter().max().copied().unwrap_or(0) as f64 / 1_000_000.0;
    figures.push(none_lost(
        "PostgreSQL: events behind the held horizon, by feed and tail".to_owned(),
        stalled.written,
        &[&stalled.feed, &stalled.tail],
        format!("the settled feed waited {longest:.1} s"),
    ));
    Ok(figures)
}

/// Writes evenly for some seconds with both kinds of readers.
async fn phase(store: &Arc<dyn Store>, url: &str, body: &str, seconds: u64) -> Outcome<Phase> {
    let (feed, tail) = (Reader::feed(store).await?, Reader::tail(store).await?);
    let interval = Duration::from_secs(1).mul_f64((EACH * WRITERS as u64) as f64 / PER_SECOND as f64);
    let written = write(url, body, PER_SECOND * seconds, Pace::Even(EACH, interval)).await?;
    Ok(Phase { written, tail: tail.finish().await?, feed: feed.finish().await? })
}

fn live(what: String, phase: &Phase) -> Figure {
    let lags = Latencies::of_micros(phase.tail.lags_us.iter().copied());
    let complete = phase.tail.events == phase.written;
    Figure {
        peer: format!("{} of {} seen, {} repeated", phase.tail.events, phase.written, phase.tail.repeated),
        ..Figure::absolute(what, lags.show(), complete && lags.at(99.0) <= LAG_MS, format!("p99 <= {LAG_MS} ms, all"))
    }
}

fn none_lost(what: String, written: u64, readers: &[&Seen], beside: String) -> Figure {
    let lost: Vec<i128> = readers.iter().map(|seen| i128::from(written) - i128::from(seen.events)).collect();
    let shown: Vec<String> = lost.iter().map(ToString::to_string).collect();
    let repeated: u64 = readers.iter().map(|seen| seen.repeated).sum();
    Figure {
        peer: format!("{beside}; {repeated} repeated"),
        ..Figure::absolute(format!("{what}: lost"), shown.join(" and "), lost.iter().all(|lost| *lost == 0), "0")
    }
}
