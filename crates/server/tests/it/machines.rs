//! Several processes on one PostgreSQL database: roles, what they must agree on, how one of them leaves, what operators see.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use longtake::config::{Config, Sources};
use longtake::wiring::{self, Running, StartError};
use longtake_testing::postgres::TestDatabase;
use longtake_testing::wait_until;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::app::tiny;

/// The longest anything is waited for.
const BOUND: Duration = Duration::from_secs(60);

/// A database, and the folder that all its processes share.
struct Place {
    database: TestDatabase,
    folder: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machines-{name}-{}", std::process::id()));
        let _nothing_there = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self { database: TestDatabase::create(), folder }
    }

    fn config(&self, role: &str, data: &str) -> Config {
        let flags = vec![
            ("--database", &["database", "url"] as &[&str], self.database.url()),
            ("--role", &["role"], role.to_owned()),
            ("--data-dir", &["data_dir"], self.folder.join(data).display().to_string()),
            ("--listen", &["listen"], "127.0.0.1:0".to_owned()),
        ];
        Config::load(Sources { flags, folder: self.folder.clone(), ..Sources::default() }).unwrap()
    }

    async fn start(&self, config: Config) -> Result<Machine, StartError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let running = wiring::start(config, listener).await?;
        let client = Client::builder().no_proxy().timeout(BOUND).build().unwrap();
        Ok(Machine { running, client })
    }

    /// The command line, with this database and a data directory.
    fn longtake(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longtake"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LONGTAKE_")) {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(&self.folder);
        command.env("LONGTAKE_DATABASE", self.database.url()).env("LONGTAKE_DATA_DIR", "data");
        command.env("LONGTAKE_LISTEN", "127.0.0.1:0").output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.longtake(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.longtake(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        errors
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ended_already = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// One running process, here in this one.
struct Machine {
    running: Running,
    client: Client,
}

impl Machine {
    async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("http://{}{path}", self.running.address));
        request.bearer_auth(&self.running.admin_key).send().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.unwrap()
    }

    async fn create(&self, prompt: &str) -> String {
        let request = self.client.post(format!("http://{}/v1/videos", self.running.address));
        let answer = request.bearer_auth(&self.running.admin_key).json(&tiny(prompt)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_and_a_worker_that_start_at_once_in_one_directory_make_a_video() {
    let place = Place::new("roles");
    let (api, worker) =
        tokio::join!(place.start(place.config("api", "data")), place.start(place.config("worker", "data")));
    let (api, worker) = (api.unwrap(), worker.unwrap());
    assert_eq!(api.running.admin_key, worker.running.admin_key, "one made the keys, the other read them");
    let id = api.create("two machines [sandbox duration=1ms]").await;
    let path = format!("/v1/videos/{id}");
    wait_until("the worker makes the video", BOUND, async || api.json(&path).await["state"] == "completed").await;
    assert_eq!(api.get(&format!("{path}/content")).await.status(), StatusCode::OK, "the artifacts are shared");

    for path in ["/healthz", "/readyz"] {
        assert_eq!(worker.get(path).await.status(), StatusCode::OK, "{path}");
    }
    let refused = worker.get(&path).await;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    let message = refused.json::<Value>().await.unwrap()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("is a worker"), "{message}");
    for (machine, role, completed) in [(&api, "api", 0), (&worker, "worker", 1)] {
        let text = machine.get("/metrics").await.text().await.unwrap();
        let lines = [
            format!("role=\"{role}\""),
            format!("longtake_jobs_completed_total {completed}"),
            "longtake_executors_alive 1".to_owned(),
            "longtake_database_connections ".to_owned(),
        ];
        for line in lines {
            assert!(text.contains(&line), "{line} in:\n{text}");
        }
    }
    tokio::join!(api.running.stop(), worker.running.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_another_secret_is_turned_away() {
    let place = Place::new("secret");
    let first = place.start(place.config("all", "one")).await.unwrap();
    let Err(error) = place.start(place.config("all", "two")).await else { panic!("it started") };
    let error = error.to_string();
    assert!(error.starts_with("secret_key: is not the one this database was first used with"), "{error}");
    assert!(error.contains("LONGTAKE_SECRET_KEY") && !error.contains('\n'), "{error}");
    std::fs::copy(place.folder.join("one/secret.key"), place.folder.join("two/secret.key")).unwrap();
    let second = place.start(place.config("all", "two")).await.unwrap();
    tokio::join!(first.running.stop(), second.running.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_says_so_first_and_ends_its_streams_cleanly() {
    let place = Place::new("drain");
    let mut config = place.config("api", "data");
    config.server.drain_secs = 3;
    let api = place.start(config).await.unwrap();
    let (client, base, key) =
        (api.client.clone(), format!("http://{}", api.running.address), api.running.admin_key.clone());
    let id = api.create("nobody drives this").await;
    assert!(api.get("/v1/models").await.headers().get("connection").is_none());
    let get = |path: String| client.get(format!("{base}{path}")).bearer_auth(&key).send();
    let stream = get(format!("/v1/videos/{id}/events")).await.unwrap();
    let waiting =
        tokio::spawn(client.get(format!("{base}/v1/videos/{id}")).bearer_auth(&key).header("prefer", "wait=60").send());
    let stopping = tokio::spawn(api.running.stop());
    wait_until("it says that it leaves", BOUND, async || {
        get("/readyz".to_owned()).await.is_ok_and(|answer| answer.status() == StatusCode::SERVICE_UNAVAILABLE)
    })
    .await;
    let answer = get("/v1/models".to_owned()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "it still serves");
    assert_eq!(answer.headers()["connection"], "close", "the next request goes elsewhere");
    // Both long before their time, and whole.
    let text = tokio::time::timeout(BOUND, stream.text()).await.unwrap().expect("the stream ends, it is not cut");
    assert!(text.contains("video.queued") && text.ends_with("\n\n"), "{text}");
    let answer = waiting.await.unwrap().expect("the long poll is answered");
    assert_eq!(answer.json::<Value>().await.unwrap()["state"], "queued");
    stopping.await.unwrap();
    assert!(get("/readyz".to_owned()).await.is_err(), "it is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_who_drives_and_must_be_sure_before_they_call_one_gone() {
    let place = Place::new("operators");
    assert!(place.ok(&["migrate"]).contains("has the schema of longtake"));
    let worker = place.start(place.config("worker", "data")).await.unwrap();
    let rows: Value = serde_json::from_str(&place.ok(&["executors", "list", "--json"])).unwrap();
    let alive: Vec<&Value> = rows.as_array().unwrap().iter().filter(|row| row["state"] == "alive").collect();
    assert_eq!((alive.len(), alive[0]["pid"].as_u64()), (1, Some(u64::from(std::process::id()))), "{rows}");
    let id = alive[0]["id"].to_string();
    assert!(place.ok(&["executors", "list"]).contains("alive"));
    assert!(place.fails(2, &["executors", "confirm-dead", &id]).contains("paid for twice"));
    assert!(place.fails(1, &["executors", "confirm-dead", &id, "--yes"]).contains("still beats"));
    // A whole system for one video, beside the others and on their database.
    let made = place.ok(&["generate", "a kite", "--seconds", "1", "--size", "64x64", "-o", "kite.mp4"]);
    assert!(made.lines().last().unwrap().starts_with("saved "), "{made}");
    let report: Value = serde_json::from_str(&place.ok(&["doctor", "--json"])).unwrap();
    let names: Vec<&str> =
        report["checks"].as_array().unwrap().iter().filter_map(|check| check["check"].as_str()).collect();
    for name in ["postgresql", "database clock", "connections", "replication", "oldest transaction", "artifact store"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    // Elsewhere nothing is made, and the server is asked all the same.
    let elsewhere = place.longtake(&["doctor", "--data-dir", "mistyped"]);
    let said = String::from_utf8(elsewhere.stdout).unwrap();
    assert!(
        said.contains("FAIL  data directory       mistyped is not there") && said.contains("ok    postgresql"),
        "{said}"
    );
    assert!(
        said.contains("warn  database             not opened before") && said.contains("ok    account sandbox"),
        "{said}"
    );
    assert!(!place.folder.join("mistyped").exists());
    worker.running.stop().await;
    let errors = place.fails(1, &["migrate", "--database", "postgres://someone:hidden@127.0.0.1:1/none"]);
    assert!(errors.contains("postgres://someone@127.0.0.1:1/none") && !errors.contains("hidden"), "{errors}");
}
