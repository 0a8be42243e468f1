//! The real binary as a command: what people type, see and get back, in a pipe and without a server.
//!
//! Each test has its own folder and listens on port 0, so that no server of the machine is met by chance.

mod doctor;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use longtake_testing::wait_until;
use serde_json::Value;

const BIN: &str = env!("CARGO_BIN_EXE_longtake");
/// The longest anything is waited for.
const BOUND: Duration = Duration::from_secs(60);
/// The smallest video that is quick to make.
const TINY: [&str; 6] = ["--seconds", "1", "--size", "64x64", "--model", "sandbox"];

/// A working folder with its own data directory.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LONGTAKE_")) {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(&self.0).env("LONGTAKE_LISTEN", "127.0.0.1:0").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; its standard output.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that must fail with this code; its standard error.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.starts_with("longtake: ") || errors.contains("\nlongtake: "), "{errors}");
        errors
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a server and waits for its line.
    fn serve(&self) -> Serving {
        let mut child = self.spawn(&["serve"]);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned);
        let mut errors = child.stderr.take().unwrap();
        std::thread::spawn(move || errors.read_to_end(&mut Vec::new()));
        Serving { url: url.unwrap_or_default(), line, child }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A running server; killed when dropped.
struct Serving {
    line: String,
    url: String,
    child: Child,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

async fn end_of(child: &mut Child) -> i32 {
    wait_until("the process ends", BOUND, async || child.try_wait().unwrap().is_some()).await;
    child.wait().unwrap().code().unwrap()
}

fn generate<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["generate"], more, &TINY].concat()
}

fn last_json(output: &str) -> Value {
    serde_json::from_str(output.lines().last().unwrap()).unwrap()
}

/// What ffprobe says of a file: codec, width and height.
fn ffprobe(path: &Path) -> String {
    let asked =
        ["-v", "error", "-select_streams", "v:0", "-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0"];
    let output = Command::new("ffprobe").args(asked).arg(path).output();
    let output = output.expect("ffprobe is needed for this test: install the package ffmpeg");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

#[test]
fn the_help_of_every_command_shows_an_example_that_is_understood() {
    let pages = longtake::cli::all_help();
    assert!(pages.len() >= 20, "{}", pages.len());
    for (path, help) in &pages {
        let (_, examples) = help.split_once("Examples:").unwrap_or_else(|| panic!("{path} shows no example"));
        let lines = examples.lines().map(str::trim).filter(|line| line.starts_with("longtake "));
        let lines: Vec<&str> = lines.collect();
        assert!(!lines.is_empty(), "{path}");
        for line in lines {
            let words = words(line.split(" > ").next().unwrap());
            assert_eq!(longtake::cli::understands(&words), Ok(()), "{path}: {line}");
        }
    }
}

/// Splits as a shell does, as far as the examples need it.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

#[test]
fn usage_errors_exit_with_2_and_others_with_1() {
    let home = Home::new("usage");
    assert!(home.fails(2, &["videos", "lst"]).contains("list"));
    assert!(home.fails(2, &["generate"]).starts_with("longtake: "));
    home.fails(2, &["generate", "x", "--size", "big"]);
    home.fails(2, &["generate", "x", "--seconds", "0"]);
    home.fails(2, &["generate", "x", "--max-cost-usd", "0"]);
    home.fails(2, &["generate", "x", "--max-cost-usd", "1e2"]);
    home.fails(2, &["videos", "resolve", "video_1"]);
    home.fails(2, &["videos", "resolve", "video_1", "--fail", "--resubmit"]);
    let errors = home.fails(1, &["--config", "no.toml", "models"]);
    assert_eq!(errors, "longtake: no.toml: there is no such file; check --config or LONGTAKE_CONFIG\n");
    std::fs::write(home.0.join("longtake.toml"), "[worker]\nconcurency = 1\n").unwrap();
    let errors = home.fails(1, &["serve"]);
    assert_eq!(errors, "longtake: longtake.toml: [worker] concurency: unknown key; did you mean concurrency?\n");
    assert!(home.ok(&["--version"]).starts_with("longtake "));
    assert!(home.ok(&["openapi"]).contains("\"openapi\""));
    assert!(!home.0.join("longtake-data").exists(), "none of these needs a data directory");
}

#[test]
fn generate_works_without_a_server_and_saves_a_real_video() {
    let home = Home::new("generate");
    let output = home.ok(&generate(&["a paper boat", "-o", "boat.mp4"]));
    assert!(output.lines().any(|line| line.starts_with("video_") && line.ends_with(" completed")), "{output}");
    assert!(output.lines().last().unwrap().starts_with("saved "), "{output}");
    assert_eq!(ffprobe(&home.0.join("boat.mp4")), "h264,64,64");
    let json = last_json(&home.ok(&generate(&["a paper boat", "--json"])));
    let id = json["id"].as_str().unwrap();
    let path = home.0.join(format!("{id}.mp4"));
    assert_eq!(
        (json["object"].as_str(), json["width"].as_u64(), json["height"].as_u64()),
        (Some("result"), Some(64), Some(64))
    );
    assert_eq!(std::fs::metadata(&path).unwrap().len(), json["bytes"].as_u64().unwrap());
    let digest = longtake::http::auth::sha256(&std::fs::read(&path).unwrap());
    assert_eq!(json["sha256"].as_str().unwrap(), longtake_core::artifact::Digest(digest).to_string());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &home.0.join("longtake-data/admin.key").metadata().unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let leftovers = std::fs::read_dir(&home.0).unwrap().filter(|entry| text_of(entry).ends_with(".part")).count();
    assert_eq!(leftovers, 0);
}

fn text_of(entry: &std::io::Result<std::fs::DirEntry>) -> String {
    entry.as_ref().unwrap().file_name().to_string_lossy().into_owned()
}

#[test]
fn a_place_that_cannot_be_written_is_found_before_anything_is_made() {
    let home = Home::new("place");
    std::fs::create_dir(home.0.join("folder")).unwrap();
    for (place, problem) in [("missing/x.mp4", "does not exist"), ("folder", "is a folder"), ("x/", "names no file")] {
        let errors = home.fails(1, &generate(&["x", "-o", place]));
        assert!(errors.contains(problem), "{place}: {errors}");
    }
    assert!(!home.0.join("longtake-data").exists(), "nothing was begun");
}

#[test]
fn a_failed_video_is_an_error_with_its_code() {
    let home = Home::new("failed");
    let errors = home.fails(1, &generate(&["[sandbox fail=content_policy] no"]));
    assert!(errors.contains("content_policy"), "{errors}");
    let errors = home.fails(1, &["generate", "x", "--model", "nope"]);
    assert!(errors.contains("unknown_model"), "{errors}");
    let output = home.run(&generate(&["[sandbox fail=content_policy] no", "--json"]));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(last_json(&text(&output.stdout))["error"]["code"], "content_policy");
}

#[tokio::test]
async fn two_at_once_share_one_system() {
    let home = Home::new("two");
    let mut first = home.spawn(&generate(&["[sandbox duration=2s] one", "-o", "one.mp4"]));
    let mut second = home.spawn(&generate(&["[sandbox duration=4s] two", "-o", "two.mp4"]));
    assert_eq!((end_of(&mut first).await, end_of(&mut second).await), (0, 0), "{}", {
        let mut errors = String::new();
        first.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        second.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        errors
    });
    assert!(home.0.join("one.mp4").exists() && home.0.join("two.mp4").exists());
}

#[tokio::test]
async fn commands_find_the_server_of_the_data_directory() {
    let home = Home::new("server");
    let mut server = home.serve();
    assert!(server.line.starts_with(&format!("longtake {} listening on {}", env!("CARGO_PKG_VERSION"), server.url)));
    assert!(server.line.contains("admin key: ") && server.line.contains("admin.key"), "{}", server.line);
    // A second server is told who is there.
    let errors = home.fails(1, &["serve"]);
    assert!(errors.contains(&format!("process {}", server.child.id())) && errors.contains(&server.url), "{errors}");
    let made = last_json(&home.ok(&generate(&["at the server", "--json", "-o", "x.mp4"])));
    let id = made["id"].as_str().unwrap();
    assert!(home.ok(&["videos", "list"]).contains(id));
    assert!(home.ok(&["videos", "get", id]).contains("completed"));
    let watched = home.ok(&["videos", "watch", id]);
    assert!(watched.contains("is completed"), "{watched}");
    assert!(home.ok(&["videos", "download", id, "-o", "again.mp4"]).starts_with("saved again.mp4"));
    assert_eq!(std::fs::read(home.0.join("x.mp4")).unwrap(), std::fs::read(home.0.join("again.mp4")).unwrap());
    home.ok(&["videos", "download", id]);
    assert!(home.fails(1, &["videos", "download", id]).contains("is there already"));
    assert!(home.ok(&["models"]).contains("sandbox (default)"));
    let key = home.ok(&["keys", "create", "test", "--scope", "read"]);
    let with_key = home.command(&["videos", "list"]).env("LONGTAKE_API_KEY", key.trim()).output().unwrap();
    assert!(with_key.status.success(), "{}", text(&with_key.stderr));
    assert!(home.ok(&["keys", "list"]).contains("key_"));
    let listed: Value = serde_json::from_str(&home.ok(&["keys", "list", "--json"])).unwrap();
    home.ok(&["keys", "revoke", listed["data"][0]["id"].as_str().unwrap()]);
    let errors = home.fails(1, &["videos", "retry", id]);
    assert!(errors.contains("(video_"), "{errors}");
    home.ok(&["videos", "delete", id]);
    assert!(home.fails(1, &["videos", "get", id]).contains("video_not_found"));
    assert!(home.ok(&["doctor"]).contains("is ready"));
    signal(&server.child, rustix::process::Signal::TERM);
    assert_eq!(end_of(&mut server.child).await, 0);
}

#[tokio::test]
async fn ctrl_c_leaves_the_video_and_it_can_be_picked_up() {
    let home = Home::new("interrupt");
    let mut child = home.spawn(&generate(&["[sandbox duration=5s] slow", "-o", "slow.mp4"]));
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("running") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it ran");
    }
    let id = line.split_whitespace().next().unwrap().to_owned();
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(end_of(&mut child).await, 130);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(errors.contains(&format!("longtake videos watch {id}")), "{errors}");
    assert!(!home.0.join("slow.mp4").exists());
    assert!(home.ok(&["videos", "watch", &id]).contains("is completed"));
    assert!(home.ok(&["videos", "download", &id, "-o", "slow.mp4"]).starts_with("saved "));
    assert_eq!(ffprobe(&home.0.join("slow.mp4")), "h264,64,64");
}

#[tokio::test]
async fn a_watcher_outlives_the_process_that_was_the_server() {
    let home = Home::new("outlives");
    let mut child = home.spawn(&generate(&["[sandbox duration=4s] slow"]));
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("running") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before it ran");
    }
    let id = line.split_whitespace().next().unwrap().to_owned();
    let mut watcher = home.spawn(&["videos", "watch", &id]);
    let mut seen = BufReader::new(watcher.stdout.take().unwrap());
    seen.read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(end_of(&mut watcher).await, 0);
    let mut rest = String::new();
    seen.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("is completed"), "{rest}");
}

#[test]
fn the_data_directory_and_the_address_are_checked() {
    let home = Home::new("unusable");
    std::fs::write(home.0.join("file"), "").unwrap();
    let errors = home.fails(1, &["serve", "--data-dir", "file/data"]);
    assert!(errors.starts_with("longtake: --data-dir: file/data cannot be used: "), "{errors}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let errors = home.fails(1, &["serve", "--listen", &address]);
    assert_eq!(
        errors,
        format!("longtake: --listen: {address} is in use by another process; stop it, or choose another address\n")
    );
    let errors = home.fails(1, &["serve", "--listen", "0.0.0.0:0", "--insecure-no-auth"]);
    assert!(errors.starts_with("longtake: --insecure-no-auth: is refused on 0.0.0.0:0"), "{errors}");
    let errors = home.fails(1, &["serve", "--role", "worker"]);
    assert!(errors.starts_with("longtake: --role: SQLite means one process"), "{errors}");
    let missing = "[accounts.a]\nprovider = \"openai_compatible\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key = \"env:NOT_SET_ANYWHERE\"\n";
    std::fs::write(home.0.join("longtake.toml"), missing).unwrap();
    let errors = home.fails(1, &["serve"]);
    let line = "longtake: longtake.toml: [accounts.a] api_key: the environment variable NOT_SET_ANYWHERE is not set; set it, or use file:PATH\n";
    assert_eq!(errors, line);
}

#[test]
fn doctor_and_migrate_say_what_they_found() {
    let home = Home::new("doctor");
    assert!(home.ok(&["migrate"]).contains("longtake.db has the schema of longtake"));
    let report: Value = serde_json::from_str(&home.ok(&["doctor", "--json"])).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().filter_map(|check| check["check"].as_str()).collect();
    for name in
        ["config", "clock", "data directory", "disk room", "disk sync", "database", "artifact store", "account sandbox"]
    {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert_eq!(report["ok"], true, "{report}");
    // Damage is found.
    let database = home.0.join("longtake-data/longtake.db");
    let whole = std::fs::read(&database).unwrap();
    let mut broken = whole.clone();
    broken[8_192..12_288].fill(0xff);
    std::fs::write(&database, &broken).unwrap();
    let output = home.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stdout).lines().find(|line| line.contains("database")).unwrap().to_owned();
    assert!(line.starts_with("FAIL") && line.contains("restore"), "{line}");
    std::fs::write(&database, &whole).unwrap();
    // An account that cannot be reached fails, with a remedy.
    let dead =
        "[accounts.dead]\nprovider = \"openai_compatible\"\napi_key = \"x\"\nbase_url = \"http://127.0.0.1:1/v1\"\n";
    std::fs::write(home.0.join("longtake.toml"), dead).unwrap();
    let output = home.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stdout).lines().find(|line| line.contains("account dead")).unwrap().to_owned();
    assert!(line.starts_with("FAIL") && line.contains("check base_url"), "{line}");
}

#[test]
fn a_full_disk_is_named_and_the_video_is_safe() {
    let home = Home::new("full");
    let _server = home.serve();
    let errors = home.fails(1, &generate(&["x", "-o", "/dev/full"]));
    assert!(
        errors.contains("/dev/full: the disk is full") && errors.contains("longtake videos download video_"),
        "{errors}"
    );
    assert!(home.ok(&["videos", "list", "--status", "completed"]).contains("video_"));
}

#[tokio::test]
async fn a_connection_that_breaks_again_and_again_harms_nothing() {
    use longtake_testing::proxy::{Behaviour, Proxy};
    let home = Home::new("breaks");
    let server = home.serve();
    let proxy = Proxy::start(server.url.trim_start_matches("http://").parse().unwrap());
    // Enough for some events and a part of the video.
    proxy.set(Behaviour { cut_after_received: Some(6_000), ..Behaviour::default() });
    let arguments =
        ["generate", "[sandbox duration=1s] broken lines", "--seconds", "2", "--size", "320x180", "-o", "x.mp4"];
    let mut child = home.spawn(&[&["--server", &proxy.url()], arguments.as_slice(), &["--json"]].concat());
    let code = end_of(&mut child).await;
    let (mut output, mut errors) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(code, 0, "{errors}");
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (result, events) = lines.split_last().unwrap();
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["sequence"].as_u64()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>(), "no event is missing or told twice");
    assert!(result["bytes"].as_u64().unwrap() > 12_000, "the video came in several parts: {result}");
    assert!(proxy.accepted() > 4, "{}", proxy.accepted());
    assert_eq!(ffprobe(&home.0.join("x.mp4")), "h264,320,180");
    let page: Value = serde_json::from_str(&home.ok(&["videos", "list", "--json"])).unwrap();
    assert_eq!(page["data"].as_array().unwrap().len(), 1, "one video was made");
}

#[test]
fn a_server_on_the_default_address_is_used_with_its_key_only() {
    let (theirs, ours) = (Home::new("theirs"), Home::new("ours"));
    let server = theirs.serve();
    let address = server.url.trim_start_matches("http://");
    let key = std::fs::read_to_string(theirs.0.join("longtake-data/admin.key")).unwrap();
    let models = |key: Option<&str>, more: &[&str]| {
        let mut command = ours.command(&[&["models"], more].concat());
        command.env("LONGTAKE_LISTEN", address).envs(key.map(|key| ("LONGTAKE_API_KEY", key))).output().unwrap()
    };
    let output = models(Some(key.trim()), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!ours.0.join("longtake-data").exists(), "a server was there: nothing of our own is begun");
    let errors = text(&models(None, &[]).stderr);
    assert!(errors.contains("does not take our key") && errors.contains("LONGTAKE_API_KEY"), "{errors}");
    let errors = text(&models(None, &["--server", &server.url]).stderr);
    assert!(errors.contains("does not take this key") || errors.contains("invalid_api_key"), "{errors}");
    let output = models(None, &["--data-dir", "own"]);
    assert!(output.status.success(), "a named data directory counts: {}", text(&output.stderr));
    assert!(ours.0.join("own/admin.key").exists());
}
