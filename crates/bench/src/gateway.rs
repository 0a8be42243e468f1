//! The release binary, `longtake serve`, as a child process; spoken to over HTTP only.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Connection, get, send_json};
use crate::load::{self, Load, Make, Until};
use crate::process::{Process, free_address};
use crate::{Bench, Outcome};

/// Longest time to become ready: recovery of many jobs is part of it.
const START_BOUND: Duration = Duration::from_secs(60);
/// Between two questions whether it is ready.
const READY_POLL: Duration = Duration::from_millis(1);
/// Between two looks at one video.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at a counter, for each thousand of jobs: a look counts what is in the database.
const COUNT_PER_THOUSAND: Duration = Duration::from_millis(25);
/// In a config, stands for the address that the gateway will have.
pub const OWN_ADDRESS: &str = "own-address.invalid";
/// Connections that creates come through.
pub const CLIENTS: usize = 64;

/// A running gateway.
pub struct Gateway {
    process: Process,
    pub address: SocketAddr,
    pub data: PathBuf,
    key: String,
    /// From its start to its first 200 at `/readyz`.
    pub ready_after: Duration,
}

/// The account and the model that lead to the simulator.
pub fn account(simulator: &str, first_ms: u64, ceiling_ms: u64, more: &str) -> String {
    format!(
        "[accounts.sim]\nprovider = \"openai_compatible\"\napi_key = \"bench\"\nbase_url = \"{simulator}/v1\"\n\
         poll_first_ms = {first_ms}\npoll_ceiling_ms = {ceiling_ms}\n{more}\n\
         [models.sim]\nroutes = [{{ account = \"sim\", model = \"wan\" }}]\n"
    )
}

impl Gateway {
    /// Starts it on a data directory that may have been used before, and waits until it is ready.
    pub async fn start(bench: &Bench, folder: &Path, data: &Path, config: &str) -> Outcome<Self> {
        Self::start_with(bench, folder, data, config, &[]).await
    }

    /// [`Gateway::start`] with further arguments of `serve`.
    pub async fn start_with(
        bench: &Bench,
        folder: &Path,
        data: &Path,
        config: &str,
        arguments: &[&str],
    ) -> Outcome<Self> {
        let address = free_address()?;
        let file = folder.join("longtake.toml");
        let config = config.replace(OWN_ADDRESS, &address.to_string());
        std::fs::write(&file, config).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut command = Command::new(bench.binaries.join("longtake"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LONGTAKE_")) {
            command.env_remove(name);
        }
        command
            .args(["serve", "--listen", &address.to_string(), "--config"])
            .arg(&file)
            .arg("--data-dir")
            .arg(data)
            .args(arguments);
        let log = folder.join("longtake.log");
        let started = Instant::now();
        let mut process = Process::start("longtake", &mut command, &log)?;
        let ready = get(address, "/readyz", None);
        loop {
            if let Ok(mut connection) = Connection::open(address).await
                && connection.exchange(&ready).await.is_ok_and(|answer| answer.status == 200)
            {
                break;
            }
            process.still_running().map_err(|error| format!("{error}; see {}", log.display()))?;
            if started.elapsed() > START_BOUND {
                return Err(format!("longtake was not ready within {START_BOUND:?}; see {}", log.display()));
            }
            tokio::time::sleep(READY_POLL).await;
        }
        let ready_after = started.elapsed();
        let path = data.join("admin.key");
        let key = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { process, address, data: data.to_path_buf(), key: key.trim().to_owned(), ready_after })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Requests that create videos, each with its own prompt.
    pub fn creates(&self, path: &'static str) -> Make {
        let (address, key) = (self.address, self.key.clone());
        Arc::new(move |number| send_json("POST", address, path, Some(&key), &create_body(number)))
    }

    /// Creates videos over many connections.
    pub async fn create_many(&self, count: u64) -> Outcome<Load> {
        load::run(self.address, CLIENTS, Until::Count(count), &self.creates("/v1/videos")).await
    }

    /// Creates one video; its id.
    pub async fn create(&self, prompt: &str) -> Outcome<String> {
        let body = json!({"prompt": prompt, "model": "sim", "seconds": "4", "size": "1280x720"}).to_string();
        let request = send_json("POST", self.address, "/v1/videos", Some(&self.key), &body);
        let body = Connection::open(self.address).await?.exchange(&request).await?.good("a create")?;
        text_of(&body, "id")
    }

    /// Waits until a video is completed; any other end is an error.
    pub async fn wait_completed(&self, id: &str, bound: Duration) -> Outcome {
        let request = get(self.address, &format!("/v1/videos/{id}"), Some(&self.key));
        let mut connection = Connection::open(self.address).await?;
        let started = Instant::now();
        while started.elapsed() < bound {
            let body = connection.exchange(&request).await?.good("a look at a video")?;
            match text_of(&body, "state")?.as_str() {
                "completed" => return Ok(()),
                "failed" | "canceled" | "held" => {
                    return Err(format!("the video did not complete: {}", String::from_utf8_lossy(&body)));
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
        Err(format!("the video was not completed within {bound:?}"))
    }

    /// A request for the bytes of a video.
    pub fn content(&self, id: &str) -> Vec<u8> {
        get(self.address, &format!("/v1/videos/{id}/content"), Some(&self.key))
    }

    /// A figure of `/metrics`.
    pub async fn metric(&self, name: &str) -> Outcome<f64> {
        let request = get(self.address, "/metrics", Some(&self.key));
        let body = Connection::open(self.address).await?.exchange(&request).await?.good("/metrics")?;
        let text = String::from_utf8_lossy(&body).into_owned();
        let value = text.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.strip_prefix("_total").unwrap_or(rest).strip_prefix(' ')?.split(' ').next()?.parse().ok()
        });
        value.ok_or_else(|| format!("/metrics has no {name}"))
    }

    /// Waits until a counter has reached a number; how long it took.
    pub async fn wait_metric(&mut self, name: &str, number: u64, bound: Duration) -> Outcome<Duration> {
        let pause = COUNT_PER_THOUSAND * u32::try_from(number / 1_000).unwrap_or(u32::MAX).clamp(1, 40);
        let started = Instant::now();
        let mut now = 0.0;
        while started.elapsed() < bound {
            now = self.metric(name).await?;
            if now >= number as f64 {
                return Ok(started.elapsed());
            }
            self.process.still_running()?;
            tokio::time::sleep(pause).await;
        }
        Err(format!("{name} was {now} and not {number} after {bound:?}"))
    }
}

/// The body of a create, the same for ours and for the raw server.
pub fn create_body(number: u64) -> String {
    format!(r#"{{"prompt":"a boat on a lake at dawn, number {number}","model":"sim","seconds":"4","size":"1280x720"}}"#)
}

fn text_of(body: &[u8], name: &str) -> Outcome<String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("an answer is no JSON: {error}"))?;
    let text = value.get(name).and_then(Value::as_str);
    text.map(ToOwned::to_owned).ok_or_else(|| format!("an answer has no {name}: {value}"))
}
