//! When each job was polled, recorded on request: a benchmark sees from here how late a gateway's polls are.
//!
//! `PUT /_sim/polls` begins anew, `GET /_sim/polls` gives everything, `GET /_sim/polls/count` only sums. Off by
//! default: then a poll costs one look at a flag. Absent: polls that a fault answered before a job was looked at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Shared;

/// Most intervals kept; later ones are only counted.
const MAX_INTERVALS: usize = 2_000_000;

/// The recording of one simulator.
#[derive(Debug, Default)]
pub(super) struct PollRecord {
    on: AtomicBool,
    times: Mutex<Times>,
}

/// All in microseconds; a job that was not polled has 0.
#[derive(Debug, Default)]
struct Times {
    polls: u64,
    /// Time of each polled job's first poll, since the Unix epoch; by the job's index.
    first_at: Vec<u64>,
    last_at: Vec<u64>,
    /// Times between two polls of the same job.
    intervals_us: Vec<u64>,
}

impl PollRecord {
    /// A retrieve of the job at this index.
    pub(super) fn polled(&self, index: usize, now: u64) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let mut times = self.times.lock().unwrap();
        times.polls += 1;
        if times.last_at.len() <= index {
            times.first_at.resize(index + 1, 0);
            times.last_at.resize(index + 1, 0);
        }
        let before = std::mem::replace(&mut times.last_at[index], now);
        if before == 0 {
            times.first_at[index] = now;
        } else if times.intervals_us.len() < MAX_INTERVALS {
            times.intervals_us.push(now.saturating_sub(before));
        }
    }

    fn restart(&self) {
        *self.times.lock().unwrap() = Times::default();
        self.on.store(true, Ordering::Relaxed);
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/_sim/polls", get(all).put(restart)).route("/_sim/polls/count", get(count))
}

async fn restart(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.poll_record.restart();
    StatusCode::NO_CONTENT
}

async fn all(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let times = shared.poll_record.times.lock().unwrap();
    let first_at: Vec<u64> = times.first_at.iter().copied().filter(|at| *at > 0).collect();
    Json(json!({ "polls": times.polls, "first_at": first_at, "intervals_us": times.intervals_us }))
}

async fn count(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let times = shared.poll_record.times.lock().unwrap();
    let jobs = times.first_at.iter().filter(|at| **at > 0).count();
    Json(json!({ "polls": times.polls, "jobs": jobs }))
}
