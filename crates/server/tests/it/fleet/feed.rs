//! A reader of `GET /v1/events` that resumes wherever it was cut, on any node, and remembers what it saw (I7).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::client::Client;
use super::{ADMIN_KEY, until};

/// Between two tries to connect.
const AGAIN: Duration = Duration::from_millis(100);
/// A stream that says nothing for so long is left for another: its node may be frozen.
const QUIET: Duration = Duration::from_secs(6);

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Video and sequence.
    pub events: BTreeSet<(String, u32)>,
    /// The highest sequence of each video so far.
    last: BTreeMap<String, u32>,
    /// An event that came before one it follows, or twice on one stream.
    pub disorder: Vec<String>,
    /// What the present stream told.
    stream: BTreeSet<(String, u32)>,
    cursor: Option<String>,
}

/// A reader in the background.
pub struct FeedReader {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl FeedReader {
    /// Begins behind what was seen before.
    pub fn resume(client: &Client, seen: Seen) -> Self {
        let seen = Arc::new(Mutex::new(seen));
        let (told, client) = (Arc::clone(&seen), client.clone());
        let task = tokio::spawn(async move { read(&client, &told).await });
        Self { seen, task }
    }

    /// What was seen so far, with the cursor behind it.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Begins now; returns when the first stream has told its cursor.
    pub async fn start(client: &Client) -> Self {
        let reader = Self::resume(client, Seen::default());
        until!("the feed begins", Duration::from_secs(30), reader.has_cursor()).await.unwrap();
        reader
    }

    fn has_cursor(&self) -> bool {
        self.seen.lock().unwrap().cursor.is_some()
    }

    /// Whether it has seen all of these.
    pub fn missing(&self, wanted: &BTreeSet<(String, u32)>) -> Vec<(String, u32)> {
        wanted.difference(&self.seen.lock().unwrap().events).cloned().collect()
    }

    /// Events of one video that came in another order.
    pub fn disorder(&self) -> Vec<String> {
        self.seen.lock().unwrap().disorder.clone()
    }
}

impl Drop for FeedReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(client: &Client, seen: &Mutex<Seen>) {
    // No limit on the whole answer: a feed has no end.
    let http = reqwest::Client::builder().no_proxy().connect_timeout(QUIET).build().unwrap();
    let mut pause = tokio::time::interval(AGAIN);
    loop {
        pause.tick().await;
        let mut request = http.get(format!("{}/v1/events", client.url())).bearer_auth(ADMIN_KEY);
        if let Some(cursor) = &seen.lock().unwrap().cursor {
            request = request.header("last-event-id", cursor);
        }
        let Ok(Ok(answer)) = tokio::time::timeout(QUIET, request.send()).await else { continue };
        if answer.status() != 200 {
            continue;
        }
        seen.lock().unwrap().stream.clear();
        let mut pieces = Box::pin(answer.bytes_stream());
        let mut text = String::new();
        while let Ok(Some(Ok(piece))) = tokio::time::timeout(QUIET, pieces.next()).await {
            text.push_str(&String::from_utf8_lossy(&piece));
            while let Some((block, rest)) = text.split_once("\n\n") {
                seen.lock().unwrap().take(block);
                text = rest.to_owned();
            }
        }
    }
}

impl Seen {
    fn take(&mut self, block: &str) {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        // The last word of a stream whose cursor the database that took over does not know.
        if field("event: ") == Some("error") {
            return;
        }
        if let Some(body) = field("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok()) {
            let video = body["data"]["id"].as_str().unwrap_or_default().to_owned();
            let sequence = u32::try_from(body["sequence"].as_u64().unwrap_or(0)).unwrap_or(0);
            let new = self.events.insert((video.clone(), sequence));
            if !self.stream.insert((video.clone(), sequence)) {
                self.disorder.push(format!("{video}: {sequence} came twice"));
            }
            let last = self.last.entry(video.clone()).or_insert(0);
            // Repeated after a resume is fine; new and skipping one is not.
            if new && sequence != *last + 1 {
                self.disorder.push(format!("{video}: {sequence} came after {last}"));
            }
            *last = sequence.max(*last);
        }
        if let Some(cursor) = field("id: ") {
            self.cursor = Some(cursor.to_owned());
        }
    }
}
