//! MiniMax's callbacks: the challenge inside a create, then a POST on each change of status.
//!
//! One task looks at all jobs that have a callback, and one for each of them sends. Plain `http://` only. What is not taken
//! is sent again only where the options say so. Absent: a signature (there is none), and an order between two calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::jobs::{Phase, View};
use super::ledger::Vendor;
use super::poll::Shown;
use super::{Shared, minimax_v1, minimax_v2, now_micros};

/// The vendor's own limit for the answer to a challenge.
const CHALLENGE_TIMEOUT: Duration = Duration::from_secs(3);
/// Limit of one callback.
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between two looks at the watched jobs.
const ROUND: Duration = Duration::from_millis(20);
/// Callbacks under way at once.
const AT_ONCE: usize = 64;
/// Pause before a callback that was not taken is sent again.
const AGAIN: Duration = Duration::from_millis(500);
/// Largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Jobs that have a callback, with the status last told.
#[derive(Debug, Default)]
pub(super) struct Watched(Mutex<VecDeque<(Vendor, String, Phase)>>);

impl Watched {
    /// Watches a job from its acceptance on, if it has a callback.
    pub(super) fn watch(&self, view: &View) {
        if view.entry.callback_url.is_some() {
            let job = (view.entry.vendor, view.entry.provider_job.clone(), Phase::Queued);
            self.0.lock().unwrap().push_back(job);
        }
    }
}

/// Whether the receiver echoes a challenge in time.
pub(super) async fn challenge(url: &str) -> bool {
    let word = format!("challenge-{:x}", now_micros());
    let answer = tokio::time::timeout(CHALLENGE_TIMEOUT, post(url, &json!({ "challenge": word }))).await;
    match answer {
        Ok(Ok((200, body))) => {
            serde_json::from_slice::<Value>(&body).is_ok_and(|body| body["challenge"] == word.as_str())
        }
        _ => false,
    }
}

/// Sends callbacks for as long as the simulator runs.
pub(super) async fn run(shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        tokio::time::sleep(ROUND).await;
        if !shared.options.callbacks {
            return;
        }
        for (url, bodies) in by_url(changes(&shared)) {
            tokio::spawn(deliver(Arc::clone(&room), url, bodies, shared.options.callback_tries));
        }
    }
}

/// What goes to one address, in order.
fn by_url(sends: Vec<(String, Value)>) -> Vec<(String, Vec<Value>)> {
    let mut grouped: Vec<(String, Vec<Value>)> = Vec::new();
    for (url, body) in sends {
        match grouped.iter_mut().find(|(known, _)| *known == url) {
            Some((_, bodies)) => bodies.push(body),
            None => grouped.push((url, vec![body])),
        }
    }
    grouped
}

/// Sends one after the other, each until it is taken. One that nobody takes is lost in the end, as with the vendor.
async fn deliver(room: Arc<Semaphore>, url: String, bodies: Vec<Value>, tries: u32) {
    for body in bodies {
        for turn in 0..tries {
            if turn > 0 {
                tokio::time::sleep(AGAIN).await;
            }
            let Ok(_permit) = room.acquire().await else { return };
            let sent = tokio::time::timeout(CALLBACK_TIMEOUT, post(&url, &body)).await;
            if matches!(sent, Ok(Ok((200..=299, _)))) {
                break;
            }
        }
    }
}

/// The callbacks of this round, after their faults.
fn changes(shared: &Shared) -> Vec<(String, Value)> {
    let now = now_micros();
    let mut news = Vec::new();
    {
        let table = shared.table.lock().unwrap();
        shared.callbacks.0.lock().unwrap().retain_mut(|(vendor, id, told)| {
            let Some(index) = table.find(*vendor, id) else { return false };
            let view = table.at(index).view(now);
            if view.phase != *told {
                *told = view.phase;
                news.push(view);
            }
            matches!(*told, Phase::Queued | Phase::Running)
        });
    }
    let mut plan = shared.plan.lock().unwrap();
    if plan.faults.callback_reversed {
        news.reverse();
    }
    let mut sends = Vec::new();
    for view in news {
        let copies = plan.next_callback_copies();
        let Some(url) = view.entry.callback_url.clone() else { continue };
        let body = match view.entry.vendor {
            Vendor::MinimaxV1 => minimax_v1::callback(&view),
            _ => json!({"task": minimax_v2::task(shared, &Shown { view, word: None, retry_after_secs: None })}),
        };
        sends.extend((0..copies).map(|_| (url.clone(), body.clone())));
    }
    sends
}

/// Posts JSON to an `http://` URL; gives status and body.
async fn post(url: &str, body: &Value) -> std::io::Result<(u16, Vec<u8>)> {
    let unreadable = || std::io::Error::other("an HTTP answer was expected");
    let rest = url.strip_prefix("http://").ok_or_else(unreadable)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let mut stream = TcpStream::connect(address).await?;
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(unreadable)?;
    let status = std::str::from_utf8(&answer[..split]).ok().and_then(|head| head.split(' ').nth(1)?.parse().ok());
    Ok((status.ok_or_else(unreadable)?, answer.split_off(split + 4)))
}
