//! Writers of events, whose transactions end in another order than they began; and what each of them has committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longtake_core::id::{JobId, Random};
use longtake_core::time::Clock;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Outcome;
use crate::postgres::life::{Numbers, WallClock};
use crate::postgres::server::{Sql, failed};

pub const WRITERS: usize = 24;
/// Events of one transaction, at most: those of one job, numbered from 1.
pub const MOST_EVENTS: u64 = 50;
/// Holds before the commit, so that it is overtaken: one in eight, up to this many milliseconds.
const HOLD_MS: u64 = 5;

/// As the store writes events, with the time at which the statement runs.
const INSERT: &str = "insert into event (job, ver, project, type, at, body)
    select $1::uuid, i, $2::bigint, 6, now_us(), $3::text from generate_series(1, $4::integer) as i";

/// How the writers go.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As fast as they can, in transactions of 1 to [`MOST_EVENTS`].
    Free,
    /// So many events per transaction, one transaction per interval and writer.
    Even(u64, Duration),
}

/// Runs all writers until so many events are committed; how many that were.
pub async fn write(url: &str, body: &str, events: u64, pace: Pace) -> Outcome<u64> {
    let given = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let (sql, body, given) = (Sql::connect(url).await?, body.to_owned(), Arc::clone(&given));
        writers.spawn(async move { one(&sql, number, &body, &given, events, pace).await });
    }
    let mut written = 0;
    while let Some(ended) = writers.join_next().await {
        written += ended.map_err(|error| format!("a writer broke off: {error}"))??;
    }
    Ok(written)
}

async fn one(sql: &Sql, number: usize, body: &str, given: &AtomicU64, events: u64, pace: Pace) -> Outcome<u64> {
    let failed = |error: tokio_postgres::Error| failed(INSERT, &error);
    let client = sql.client();
    let insert = client.prepare(INSERT).await.map_err(failed)?;
    let (random, project) = (Numbers::new(), i64::try_from(number).unwrap_or(0) + 1);
    let mut ticks = match pace {
        Pace::Free => None,
        Pace::Even(_, interval) => {
            // Not all at the same moment.
            tokio::time::sleep(interval.mul_f64(number as f64 / WRITERS as f64)).await;
            Some(tokio::time::interval(interval))
        }
    };
    let mut written = 0;
    loop {
        let count = match pace {
            Pace::Free => 1 + random.below(MOST_EVENTS),
            Pace::Even(count, _) => count,
        };
        if given.fetch_add(count, Ordering::Relaxed) >= events {
            return Ok(written);
        }
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let job = Uuid::from_bytes(*JobId::new(WallClock.now(), &random).as_bytes());
        let many = i32::try_from(count).unwrap_or(1);
        let hold = match pace {
            Pace::Free if random.below(8) == 0 => Some(Duration::from_millis(random.below(HOLD_MS) + 1)),
            _ => None,
        };
        if hold.is_some() {
            client.batch_execute("begin").await.map_err(failed)?;
        }
        client.execute(&insert, &[&job, &project, &body, &many]).await.map_err(failed)?;
        if let Some(hold) = hold {
            tokio::time::sleep(hold).await;
            client.batch_execute("commit").await.map_err(failed)?;
        }
        written += count;
    }
}
