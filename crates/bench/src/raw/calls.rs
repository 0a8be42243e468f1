//! The calls of a client of the OpenAI shape, with the library the gateway uses too.

use std::time::Duration;

use reqwest::multipart::Form;
use serde::Deserialize;

use crate::Outcome;

/// Longest call.
const CALL_BOUND: Duration = Duration::from_secs(60);

/// A client of the simulator.
#[derive(Clone)]
pub struct Client {
    inner: reqwest::Client,
    url: String,
}

/// What a loop needs of a video.
#[derive(Debug, Deserialize)]
pub struct Video {
    pub id: String,
    pub status: String,
}

impl Client {
    pub fn new(url: &str) -> Outcome<Self> {
        let inner = reqwest::Client::builder().timeout(CALL_BOUND).no_proxy().build();
        let inner = inner.map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Self { inner, url: format!("{url}/v1/videos") })
    }

    pub async fn create(&self, prompt: String) -> Outcome<Video> {
        let form =
            Form::new().text("prompt", prompt).text("model", "wan").text("seconds", "4").text("size", "1280x720");
        let request = self.inner.post(&self.url).bearer_auth("bench").multipart(form);
        json_of(request).await
    }

    pub async fn poll(&self, id: &str) -> Outcome<Video> {
        json_of(self.inner.get(format!("{}/{id}", self.url)).bearer_auth("bench")).await
    }

    /// The open answer with the bytes of a video.
    pub async fn content(&self, id: &str) -> Outcome<reqwest::Response> {
        let request = self.inner.get(format!("{}/{id}/content", self.url)).bearer_auth("bench");
        request.send().await.and_then(reqwest::Response::error_for_status).map_err(|error| error.to_string())
    }
}

async fn json_of(request: reqwest::RequestBuilder) -> Outcome<Video> {
    let answer = request.send().await.and_then(reqwest::Response::error_for_status);
    answer.map_err(|error| error.to_string())?.json().await.map_err(|error| error.to_string())
}
