//! The simulator keeps its own promises: it bills what it accepts, and misbehaves only as ordered.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod billing;
mod lists;
mod minimax;
mod network;
mod openai;
mod postgres;
mod results;

use std::path::PathBuf;
use std::time::Duration;

use longtake_testing::sim::Simulator;
use longtake_testing::wait_until;
use reqwest::{Client, Response};
use serde_json::{Value, json};

/// Bound of every wait.
const BOUND: Duration = Duration::from_secs(10);

/// A client that, like ours, never repeats a request by itself.
fn client() -> Client {
    Client::builder().retry(reqwest::retry::never()).no_proxy().build().unwrap()
}

/// Creates a video by JSON on the OpenAI shape.
async fn create(sim: &Simulator, body: &Value) -> reqwest::Result<Response> {
    client().post(format!("{}/v1/videos", sim.url())).json(body).send().await
}

/// Creates a video that must be accepted, and gives its id.
async fn create_one(sim: &Simulator, prompt: &str) -> String {
    let answer = create(sim, &json!({ "prompt": prompt })).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

async fn get(url: String) -> (u16, Value) {
    let answer = client().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Waits until a video has this status.
async fn wait_for(sim: &Simulator, id: &str, status: &str) {
    let url = format!("{}/v1/videos/{id}", sim.url());
    wait_until(&format!("{id} becomes {status}"), BOUND, async || get(url.clone()).await.1["status"] == status).await;
}

/// A file name that no other test uses, in a folder that is removed with the guard.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("longtake-testing-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn ledger(&self) -> PathBuf {
        self.0.join("ledger.jsonl")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}
