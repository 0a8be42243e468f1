//! A whole server on a free port with its own data directory, and what tests ask of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use longtake::app::App;
use longtake::config::{Config, Sources};
use longtake::wiring::{self, Running};
use longtake_core::retention::{Keep, Retention};
use longtake_core::store::Store;
use longtake_engine::retention::{self, Removed};
use longtake_testing::wait_until;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The longest any state is waited for.
const BOUND: Duration = Duration::from_secs(60);

/// A running server.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub base: String,
    /// May do everything.
    pub admin_key: String,
    /// Sends with the admin key unless told otherwise.
    client: Client,
    running: Option<Running>,
    folder: PathBuf,
}

impl Server {
    /// With the defaults.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With some settings changed.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(Self::new_folder(), change).await
    }

    fn new_folder() -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("longtake-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        std::env::temp_dir().join(name)
    }

    /// With accounts and models as in a config file; `text` gets its own address, which providers shall call back at.
    pub async fn start_called_back(text: impl FnOnce(&str) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let folder = Self::new_folder();
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("longtake.toml");
        std::fs::write(&file, text(&base)).unwrap();
        let sources = Sources { file: Some(file), folder: folder.clone(), ..Sources::default() };
        let mut config = Config::load(sources).unwrap();
        (config.general.data_dir, config.data_dir_was_named) = (folder.clone(), true);
        Self::serve(config, listener, folder).await
    }

    /// Stops it and starts it again on the same data, at another address.
    pub async fn restarted(self) -> Self {
        self.restarted_with(|_| {}).await
    }

    /// The same with some settings changed.
    pub async fn restarted_with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        Self::start_in(std::mem::take(&mut self.folder), change).await
    }

    async fn start_in(folder: PathBuf, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::in_folder(&folder);
        change(&mut config);
        Self::serve(config, TcpListener::bind("127.0.0.1:0").await.unwrap(), folder).await
    }

    async fn serve(config: Config, listener: TcpListener, folder: PathBuf) -> Self {
        let running = wiring::start(config, listener).await.unwrap();
        let (base, admin_key) = (format!("http://{}", running.address), running.admin_key.clone());
        let client = Client::builder().pool_max_idle_per_host(0).no_proxy().timeout(BOUND).build().unwrap();
        Self { base, admin_key, client, running: Some(running), folder }
    }

    /// Where its objects lie, a folder for each project.
    pub fn artifacts(&self) -> PathBuf {
        self.folder.join("artifacts")
    }

    /// Its rows, for what would take many requests.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.running.as_ref().unwrap().app.store)
    }

    /// What its handlers share.
    pub fn app(&self) -> &App {
        &self.running.as_ref().unwrap().app
    }

    /// One round of retention, now, whatever the config says. Its own rounds, if there are any, do not know of it.
    pub async fn expire(&self, keep: Keep) -> Removed {
        let engine = &self.running.as_ref().unwrap().app.engine;
        let mut parts = engine.parts().clone();
        parts.config.retention = Retention { default: keep, ..Retention::default() };
        retention::expire(&parts, engine.metrics()).await
    }

    /// One sweep of objects of at least this age, now; how many it removed.
    pub async fn sweep(&self, age: Duration) -> u64 {
        retention::sweep(self.running.as_ref().unwrap().app.engine.parts(), age).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    fn authorized(&self, method: Method, path: &str) -> Authorized {
        Authorized { request: self.request(method, path), key: Some(self.admin_key.clone()) }
    }

    pub fn get(&self, path: &str) -> Authorized {
        self.authorized(Method::GET, path)
    }

    pub fn head(&self, path: &str) -> Authorized {
        self.authorized(Method::HEAD, path)
    }

    pub fn post(&self, path: &str) -> Authorized {
        self.authorized(Method::POST, path)
    }

    pub fn delete(&self, path: &str) -> Authorized {
        self.authorized(Method::DELETE, path)
    }

    /// The body of a successful GET.
    pub async fn json(&self, path: &str) -> Value {
        let response = self.get(path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }

    /// Creates a video from a JSON body.
    pub async fn create(&self, body: &Value) -> Value {
        let response = self.post("/v1/videos").json(body).send().await.unwrap();
        let status = response.status();
        let video: Value = response.json().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{video}");
        video
    }

    async fn once(&self, video: &Value, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/v1/videos/{}", video["id"].as_str().unwrap());
        let mut seen = Value::Null;
        wait_until(what, BOUND, async || {
            seen = self.json(&path).await;
            holds(&seen)
        })
        .await;
        seen
    }

    /// Waits until the video is completed or failed.
    pub async fn finished(&self, video: &Value) -> Value {
        self.once(video, "the video ends", |video| video["status"] == "completed" || video["status"] == "failed").await
    }

    /// Waits for a precise state.
    pub async fn in_state(&self, video: &Value, state: &str) -> Value {
        self.once(video, state, |video| video["state"] == state).await
    }

    /// Stops the server and removes its folder.
    pub async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A request that carries a key.
pub struct Authorized {
    request: RequestBuilder,
    key: Option<String>,
}

impl Authorized {
    /// Another key instead.
    pub fn bearer_auth(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    /// No key.
    pub fn anonymous(self) -> Self {
        Self { key: None, ..self }
    }

    pub fn header(self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        Self { request: self.request.header(name, value.as_ref()), ..self }
    }

    pub fn json(self, body: &Value) -> Self {
        Self { request: self.request.json(body), ..self }
    }

    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        Self { request: self.request.body(body), ..self }
    }

    pub fn multipart(self, form: reqwest::multipart::Form) -> Self {
        Self { request: self.request.multipart(form), ..self }
    }

    pub async fn send(self) -> reqwest::Result<reqwest::Response> {
        match self.key {
            Some(key) => self.request.bearer_auth(key).send().await,
            None => self.request.send().await,
        }
    }
}

/// Status and `error.code` of the answer; it must be in the envelope.
pub async fn code(request: Authorized) -> (u16, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    assert!(response.headers().contains_key("x-request-id"));
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} without envelope: {text:?}"));
    let error = &body["error"];
    assert!(error["message"].is_string() && error["type"].is_string(), "{body}");
    (status, error["code"].as_str().unwrap_or_default().to_owned())
}

/// The smallest video that is quick to render.
pub fn tiny(prompt: &str) -> Value {
    json!({"prompt": prompt, "model": "sandbox", "seconds": "1", "size": "64x64", "provider_options": {"fps": 5}})
}

/// A picture of one pixel.
pub fn png() -> Vec<u8> {
    const TEXT: &str =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, TEXT).unwrap()
}

pub fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    longtake_core::artifact::Digest(longtake::http::auth::sha256(bytes)).to_string()
}
