//! L4: a power cut leaves only what was synced. Everything acknowledged must be in it, and nothing torn.
//!
//! A child (this program again) works under `shim/fsync.c` and says what was acknowledged; it is killed, and the tree
//! that a disk would still hold is rebuilt and opened. With `synchronous=NORMAL` the same must find losses: the test is
//! not blind.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longtake_core::artifact::{ArtifactKey, ArtifactStore};
use longtake_core::store::{CreateResult, OpenResult};
use longtake_store::Tuning;
use longtake_store::artifacts::FileArtifacts;

use crate::given::{Folder, Given, HandClock, PROJECT, options, wanted};

/// Where the child works, and whether it must not wait for the disk.
const DATA: &str = "POWER_CUT_DATA";
const NORMAL: &str = "POWER_CUT_NORMAL";
/// Acknowledgements before the power goes.
const ACKNOWLEDGED: usize = 240;
/// Rounds of a child that nobody kills.
const MAX_ROUNDS: u64 = 10_000;

fn given(data: &Path, normal: bool) -> Given {
    let clock = Arc::new(HandClock::new());
    let tuning = Tuning { synchronous_normal: normal, ..Tuning::default() };
    let url = format!("sqlite:{}", data.join("longtake.db").display());
    Given::new(longtake_store::open_with(&url, options(clock.clone()), tuning).unwrap(), clock)
}

fn key(place: u64) -> ArtifactKey {
    ArtifactKey::from_stored(&format!("1/video_{place}/1/0-1"))
}

/// What object number `place` holds: more than one chunk, told apart from every other.
fn content(place: u64) -> Vec<u8> {
    let length = 300_000 + usize::try_from(place).unwrap() * 10;
    vec![u8::try_from(place % 251).unwrap(); length]
}

/// Creates jobs, opens attempts, stores objects, and says so after each acknowledgement.
async fn work(data: &Path, normal: bool, rounds: u64, say: impl Fn(String)) {
    let given = given(data, normal);
    let artifacts = FileArtifacts::open(&data.join("artifacts")).unwrap();
    let executor = given.executor().await;
    for place in 0..rounds {
        let create = || given.store.create(vec![given.new_job()]);
        let (one, two, three) = tokio::join!(create(), create(), create());
        for created in [one, two, three].into_iter().flat_map(Result::unwrap) {
            let CreateResult::Created(job) = created else { panic!("{created:?}") };
            say(format!("JOB {}", job.record.job));
        }
        let claims = given.store.acquire(executor, &wanted(2)).await.unwrap();
        let intents = claims.iter().map(|claim| given.intent(executor, claim)).collect();
        for opened in given.store.open_attempts(executor, intents).await.unwrap() {
            let OpenResult::Opened(record) = opened else { panic!("{opened:?}") };
            say(format!("INTENT {}", record.job));
        }
        let mut writer = artifacts.writer(&key(place)).await.unwrap();
        for chunk in content(place).chunks(100_000) {
            writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        writer.finish().await.unwrap();
        say(format!("ARTIFACT {place}"));
    }
}

/// Started by the tests below with a folder, it works until it is killed. By itself, it checks its own work.
#[tokio::test]
async fn what_the_child_acknowledges_is_there() {
    if let Some(data) = std::env::var_os(DATA) {
        let normal = std::env::var_os(NORMAL).is_some();
        return work(Path::new(&data), normal, MAX_ROUNDS, |line| println!("\n{line}")).await;
    }
    let folder = Folder::new();
    let said = std::sync::Mutex::new(Vec::new());
    work(folder.path(), false, 3, |line| said.lock().unwrap().push(line)).await;
    let said = said.into_inner().unwrap();
    assert_eq!(said.len(), 18);
    assert_eq!(missing(folder.path(), &said).await, BTreeSet::new());
}

/// What was acknowledged and is not there.
async fn missing(data: &Path, acknowledged: &[String]) -> BTreeSet<String> {
    let given = given(data, false);
    let artifacts = FileArtifacts::open(&data.join("artifacts")).unwrap();
    let mut missing = BTreeSet::new();
    for line in acknowledged {
        let there = match line.split_once(' ').unwrap() {
            ("ARTIFACT", place) => {
                let place: u64 = place.parse().unwrap();
                artifacts.read(&key(place), 0..u64::MAX).await.is_ok_and(|bytes| bytes == content(place))
            }
            ("JOB", job) => given.store.get(PROJECT, job.parse().unwrap()).await.unwrap().is_some(),
            ("INTENT", job) => {
                let timeline = given.store.timeline(PROJECT, job.parse().unwrap()).await.unwrap();
                timeline.is_some_and(|timeline| timeline.attempts.len() == 1)
            }
            _ => panic!("{line}"),
        };
        if !there {
            missing.insert(line.clone());
        }
    }
    missing
}

/// Every object that can be seen is whole.
async fn assert_nothing_torn(data: &Path) {
    let artifacts = FileArtifacts::open(&data.join("artifacts")).unwrap();
    let keys = artifacts.older_than(Duration::ZERO, None, usize::MAX).await.unwrap();
    for at in keys {
        let place = at.as_str().split('/').nth(1).unwrap().strip_prefix("video_").unwrap().parse().unwrap();
        assert!(artifacts.read(&at, 0..u64::MAX).await.unwrap() == content(place), "{at} is torn");
    }
}

fn shim(folder: &Path) -> PathBuf {
    let library = folder.join("fsync.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim/fsync.c");
    let mut command = Command::new(compiler);
    command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).args(["-ldl", "-lpthread"]);
    assert!(command.status().unwrap().success(), "the shim does not compile");
    library
}

/// What lies in a folder before the child starts counts as synced.
fn keep_all(folder: &Path, shadow: &Path) {
    let mut listing = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (inode, path) = (entry.metadata().unwrap().ino(), entry.path());
        let is_folder = path.is_dir();
        if is_folder {
            keep_all(&path, shadow);
        } else {
            std::fs::copy(&path, shadow.join(format!("f-{inode}"))).unwrap();
        }
        let kind = if is_folder { 'd' } else { 'f' };
        listing += &format!("{inode} {kind} {}\n", entry.file_name().to_str().unwrap());
    }
    let inode = std::fs::metadata(folder).unwrap().ino();
    std::fs::write(shadow.join(format!("d-{inode}")), listing).unwrap();
}

/// The tree that the disk still holds: names from synced folders, bytes from synced files.
fn rebuild(inode: u64, shadow: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let listing = std::fs::read_to_string(shadow.join(format!("d-{inode}"))).unwrap_or_default();
    for line in listing.lines() {
        let mut words = line.splitn(3, ' ');
        let inode: u64 = words.next().unwrap().parse().unwrap();
        let (kind, name) = (words.next().unwrap(), words.next().unwrap());
        match (kind, shadow.join(format!("f-{inode}"))) {
            ("d", _) => rebuild(inode, shadow, &to.join(name)),
            (_, synced) if synced.exists() => drop(std::fs::copy(synced, to.join(name)).unwrap()),
            (..) => std::fs::write(to.join(name), "").unwrap(),
        }
    }
}

/// Runs the child until it acknowledged enough, cuts the power, and gives what it said and what is left.
async fn cut(folder: &Path, normal: bool) -> (Vec<String>, PathBuf) {
    let [data, shadow, left] = ["data", "shadow", "left"].map(|name| folder.join(name));
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir_all(&shadow).unwrap();
    let data = data.canonicalize().unwrap();
    // The database is there and closed before: what is lost is lost by commits, not by the first open.
    drop(given(&data, false));
    keep_all(&data, &shadow);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "power_cut::what_the_child_acknowledges_is_there", "--nocapture"]);
    command.env(DATA, &data).env("LD_PRELOAD", shim(folder)).env("SHADOW_ROOT", &data).env("SHADOW_DIR", &shadow);
    if normal {
        command.env(NORMAL, "1");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut acknowledged = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if ["JOB ", "INTENT ", "ARTIFACT "].iter().any(|word| line.starts_with(word)) {
            acknowledged.push(line);
        }
        if acknowledged.len() == ACKNOWLEDGED {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(acknowledged.len(), ACKNOWLEDGED, "the child ended early");
    rebuild(std::fs::metadata(&data).unwrap().ino(), &shadow, &left);
    (acknowledged, left)
}

#[tokio::test]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let folder = Folder::new();
    let (acknowledged, left) = cut(folder.path(), false).await;
    assert_eq!(missing(&left, &acknowledged).await, BTreeSet::new());
    assert_nothing_torn(&left).await;
}

#[tokio::test]
async fn without_waiting_for_the_disk_the_same_test_finds_losses() {
    let folder = Folder::new();
    let (acknowledged, left) = cut(folder.path(), true).await;
    let missing = missing(&left, &acknowledged).await;
    let lost = |word: &str| missing.iter().any(|line| line.starts_with(word));
    assert!(lost("JOB "), "the test is blind to lost jobs");
    assert!(lost("INTENT "), "the test is blind to lost intents");
}
