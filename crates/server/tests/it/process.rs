//! The real binary as a child process: started on a free port, killed like a power switch, spoken to over HTTP.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use longtake_testing::wait_until;
use serde_json::{Value, json};

/// Longest time to start, or to die when told to.
const START_BOUND: Duration = Duration::from_secs(60);

/// A running `longtake serve`.
pub struct Gateway {
    child: Child,
    pub url: String,
    key: String,
    client: reqwest::Client,
}

/// The folder, the config and the environment a gateway is started with again and again.
pub struct Home {
    pub dir: PathBuf,
    config: PathBuf,
}

impl Home {
    pub fn new(name: &str, config: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("longtake.toml");
        std::fs::write(&path, config).unwrap();
        Self { dir, config: path }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts the gateway and waits until it is ready. `None` if it died before it listened (a crash point in its start).
    pub async fn start(&self, env: &[(&str, &str)]) -> Option<Gateway> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_longtake"))
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&self.config)
            .arg("--data-dir")
            .arg(self.data())
            .env_remove("LONGTAKE_FAILPOINT")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = child.stderr.take().unwrap();
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("stderr.log")).unwrap();
        std::thread::spawn(move || std::io::copy(&mut errors, &mut &log));
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let Some(url) = first.split_whitespace().find(|word| word.starts_with("http://")) else {
            child.wait().unwrap();
            return None;
        };
        let url = url.to_owned();
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        let key = std::fs::read_to_string(self.data().join("admin.key")).unwrap().trim().to_owned();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        let gateway = Gateway { child, url, key, client };
        let ready = format!("{}/readyz", gateway.url);
        wait_until("the gateway is ready", START_BOUND, async || {
            gateway.client.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        Some(gateway)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// A test that breaks off leaves no process behind.
impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    /// `kill -9`.
    pub fn kill(self) {
        drop(self);
    }

    /// SIGTERM, then waits for the end.
    pub async fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.wait_for_death().await
    }

    /// Waits until the process has ended by itself.
    pub async fn wait_for_death(&mut self) -> ExitStatus {
        wait_until("the gateway ends", START_BOUND, async || self.child.try_wait().unwrap().is_some()).await;
        self.child.wait().unwrap()
    }

    /// One request; `None` where the connection broke off.
    pub async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Option<(u16, Value)> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Creates a video under a key; its id once it is acknowledged.
    pub async fn create(&self, key: &str, prompt: &str) -> Option<String> {
        let body = json!({"prompt": prompt, "model": "sim", "seconds": "4", "size": "1280x720"});
        let (status, video) =
            self.call(reqwest::Method::POST, "/v1/videos", Some(body), &[("idempotency-key", key)]).await?;
        assert_eq!(status, 200, "{video}");
        Some(video["id"].as_str().unwrap().to_owned())
    }

    pub async fn get(&self, path: &str) -> Option<Value> {
        self.call(reqwest::Method::GET, path, None, &[])
            .await
            .filter(|(status, _)| *status == 200)
            .map(|(_, body)| body)
    }

    pub async fn post(&self, path: &str, body: Value) -> Option<(u16, Value)> {
        self.call(reqwest::Method::POST, path, Some(body), &[]).await
    }

    /// The bytes of a finished video.
    pub async fn content(&self, id: &str) -> Vec<u8> {
        let request = self.client.get(format!("{}/v1/videos/{id}/content", self.url)).bearer_auth(&self.key);
        request.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap().to_vec()
    }

    /// A video's precise state.
    pub async fn state(&self, id: &str) -> Option<String> {
        Some(self.get(&format!("/v1/videos/{id}")).await?["state"].as_str()?.to_owned())
    }
}
