//! A client of several nodes: asks one after the other, and repeats a create under its key until it is acknowledged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::ADMIN_KEY;
use crate::fleet::until;

/// Longest time for one request: a frozen node never answers.
const REQUEST: Duration = Duration::from_secs(4);
/// Longest time for a whole video: it may be large, and the machine busy.
const CONTENT: Duration = Duration::from_secs(60);
/// Longest time until a create is acknowledged.
const CREATE_BOUND: Duration = Duration::from_secs(90);

/// Knows where the API nodes are.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    urls: Arc<Mutex<Vec<String>>>,
    next: Arc<AtomicUsize>,
}

impl Client {
    pub fn new(urls: Vec<String>) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(REQUEST).build().unwrap();
        Self { http, urls: Arc::new(Mutex::new(urls)), next: Arc::default() }
    }

    /// Another node to ask.
    pub fn add(&self, url: String) {
        self.urls.lock().unwrap().push(url);
    }

    /// The node whose turn it is.
    pub fn url(&self) -> String {
        let urls = self.urls.lock().unwrap();
        urls[self.next.fetch_add(1, Ordering::Relaxed) % urls.len()].clone()
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: Option<&Value>, key: &str) -> Option<(u16, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.url())).bearer_auth(ADMIN_KEY);
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, serde_json::from_slice(&answer.bytes().await.ok()?).unwrap_or_default()))
    }

    /// Creates a video, again and again under its key; its id.
    pub async fn create(&self, key: &str, prompt: &str) -> Result<String, String> {
        let body = json!({"prompt": prompt, "model": "sim", "seconds": "4", "size": "1280x720"});
        let mut id: Result<String, String> = Err(String::new());
        let what = format!("{key} is acknowledged");
        until!(&what, CREATE_BOUND, {
            match self.call(reqwest::Method::POST, "/v1/videos", Some(&body), key).await {
                Some((200, video)) => id = video["id"].as_str().map(str::to_owned).ok_or(video.to_string()),
                Some((status, answer)) if status < 500 && status != 429 && status != 409 => {
                    return Err(format!("{key}: {status} {answer}"));
                }
                _ => {}
            }
            id.is_ok()
        })
        .await?;
        id
    }

    /// A GET that some node answers with 200, within a few tries.
    pub async fn get(&self, path: &str) -> Option<Value> {
        for _ in 0..4 {
            if let Some((200, body)) = self.call(reqwest::Method::GET, path, None, "").await {
                return Some(body);
            }
        }
        None
    }

    /// One POST; `None` where there was no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        self.call(reqwest::Method::POST, path, Some(body), "").await
    }

    /// A POST without a body.
    pub async fn order(&self, path: &str) -> Option<(u16, Value)> {
        self.call(reqwest::Method::POST, path, None, "").await
    }

    /// A video's precise state.
    pub async fn state(&self, id: &str) -> Option<String> {
        Some(self.get(&format!("/v1/videos/{id}")).await?["state"].as_str()?.to_owned())
    }

    /// The bytes of a finished video, or why there are none.
    pub async fn content(&self, id: &str) -> Result<Vec<u8>, String> {
        let request = self.http.get(format!("{}/v1/videos/{id}/content", self.url())).bearer_auth(ADMIN_KEY);
        let bytes = async { request.timeout(CONTENT).send().await?.error_for_status()?.bytes().await };
        bytes.await.map(|bytes| bytes.to_vec()).map_err(|error| format!("{error:?}"))
    }
}
