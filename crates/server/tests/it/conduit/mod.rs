//! Conduit's two dialects: what a client of that gateway sends, expects and reads, over plain HTTP. The numbers are those
//! of the checklist that a compatible server has to pass; `d` marks a defect of Conduit's that is not copied.

mod create;
mod documented;
mod errors;
mod files;
mod life;
mod rooms;
mod tasks;
mod told;

use std::time::Duration;

use longtake_testing::wait_until;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::app::{Authorized, Server};

/// The longest anything is waited for.
const BOUND: Duration = Duration::from_secs(60);

/// One dialect of a server, as a client sees it.
#[derive(Clone, Copy)]
struct Client<'a> {
    server: &'a Server,
    /// What every path begins with.
    prefix: &'static str,
}

/// A client for each dialect.
fn both(server: &Server) -> [Client<'_>; 2] {
    [Client { server, prefix: "/v1" }, Client { server, prefix: "/v1/conduit" }]
}

impl Client<'_> {
    /// Whether it speaks the older dialect.
    fn is_a(self) -> bool {
        self.prefix == "/v1"
    }

    /// A member's name as this dialect writes it.
    fn name(self, snake: &str) -> String {
        if !self.is_a() {
            return snake.to_owned();
        }
        let mut words = snake.split('_');
        let first = words.next().unwrap().to_owned();
        words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
    }

    fn get(self, path: &str) -> Authorized {
        self.server.get(&format!("{}{path}", self.prefix))
    }

    fn post(self, path: &str) -> Authorized {
        self.server.post(&format!("{}{path}", self.prefix))
    }

    fn delete(self, path: &str) -> Authorized {
        self.server.delete(&format!("{}{path}", self.prefix))
    }

    /// Sends a create that must be accepted; the answer.
    async fn accepted(self, body: &Value) -> Value {
        let response = self.post("/videos/generations/async").json(body).send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
        answer
    }

    /// Makes a task; its id.
    async fn task(self, body: &Value) -> String {
        self.accepted(body).await[self.name("task_id")].as_str().unwrap().to_owned()
    }

    async fn status(self, task: &str) -> Value {
        self.server.json(&format!("{}/videos/generations/tasks/{task}", self.prefix)).await
    }

    /// Waits until a task has a status; the task.
    async fn once(self, task: &str, status: &str) -> Value {
        let mut seen = Value::Null;
        wait_until(status, BOUND, async || {
            seen = self.status(task).await;
            seen["status"] == status
        })
        .await;
        seen
    }

    /// Waits until it is completed; where its file is, as a path of this server.
    async fn file_of(self, task: &str) -> String {
        let done = self.once(task, "completed").await;
        let made = if self.is_a() { &done["videoResponse"] } else { &done["result"] };
        let url = made["data"][0]["url"].as_str().unwrap();
        url.strip_prefix(&self.server.base).unwrap_or_else(|| panic!("{url} is not where we came by")).to_owned()
    }

    /// The same as the name of the file.
    async fn key_of(self, task: &str) -> String {
        let url = self.file_of(task).await;
        url.strip_prefix(&format!("{}/media/", self.prefix)).unwrap().to_owned()
    }
}

/// The smallest task that is quick to render.
fn small(prompt: &str) -> Value {
    json!({"prompt": prompt, "model": "sandbox", "duration": 1, "size": "64x64", "fps": 5})
}

/// A key of another project.
async fn key(server: &Server, body: Value) -> (String, String) {
    let response = server.post("/v1/api_keys").json(&body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let key: Value = response.json().await.unwrap();
    (key["id"].as_str().unwrap().to_owned(), key["key"].as_str().unwrap().to_owned())
}

/// The key of a stranger.
async fn stranger(server: &Server) -> String {
    key(server, json!({"name": "stranger", "project": "elsewhere"})).await.1
}

/// The video behind a task, at our own front door.
fn video_of(task: &str) -> Value {
    json!({"id": task.replace("task_", "video_")})
}

/// Status and body of an answer.
async fn answer(request: Authorized) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
