//! Fail-stop: when the disk refuses a commit, all hear `CommitUnknown`, the process is told to end, and nothing is
//! written any more. A child (this program again) runs into a limit on the size of its files.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longtake_core::store::StoreError;
use longtake_store::OpenOptions;

use crate::given::{Folder, Given, HandClock, PROJECT, options, wanted};

/// Where the child works.
const DATA: &str = "FAIL_STOP_DATA";
/// More creates than fit below the limit.
const MAX_CREATES: usize = 400;

/// Creates until it fails; says what was acknowledged and how it ended.
async fn fill(data: &Path) -> Vec<String> {
    let clock = Arc::new(HandClock::new());
    let told = Arc::new(AtomicUsize::new(0));
    let fatal = Arc::clone(&told);
    let options =
        OpenOptions { fatal: Arc::new(move |_| _ = fatal.fetch_add(1, Ordering::SeqCst)), ..options(clock.clone()) };
    let url = format!("sqlite:{}", data.join("longtake.db").display());
    let given = Given::new(longtake_store::open(&url, options).unwrap(), clock);
    let executor = given.executor().await;
    let mut said = Vec::new();
    for _ in 0..MAX_CREATES {
        let mut new = given.new_job();
        new.request.prompt = "p".repeat(20_000).into();
        let job = new.job;
        match given.store.create(vec![new]).await {
            Ok(_) => said.push(format!("JOB {job}")),
            Err(error) => {
                said.push(format!("FIRST {}", word(&error)));
                break;
            }
        }
    }
    let create = given.store.create(vec![given.new_job()]).await.err();
    let acquire = given.store.acquire(executor, &wanted(1)).await.err();
    let ready = given.store.ready().await.err();
    for later in [create, acquire, ready] {
        said.push(format!("LATER {}", later.as_ref().map_or("fine", word)));
    }
    said.push(format!("FATAL {}", told.load(Ordering::SeqCst)));
    said
}

fn word(error: &StoreError) -> &'static str {
    match error {
        StoreError::CommitUnknown => "unknown",
        StoreError::Full => "full",
        StoreError::Failed(_) => "failed",
        StoreError::Cursor => "cursor",
        StoreError::CursorExpired => "expired cursor",
    }
}

/// Started by the test below with a folder and a limit. By itself, nothing fails.
#[tokio::test]
async fn the_child_fills_its_disk() {
    if let Some(data) = std::env::var_os(DATA) {
        return fill(Path::new(&data)).await.iter().for_each(|line| println!("\n{line}"));
    }
    let folder = Folder::new();
    let said = fill(folder.path()).await;
    assert_eq!(said.iter().filter(|line| line.starts_with("JOB ")).count(), MAX_CREATES);
    assert_eq!(said[MAX_CREATES..], ["LATER fine", "LATER fine", "LATER fine", "FATAL 0"]);
}

#[tokio::test]
async fn a_refused_commit_stops_the_store_and_keeps_what_was_acknowledged() {
    let folder = Folder::new();
    // 4,096 blocks of 512 or 1,024 bytes, by shell. The signal is ignored, so that the write fails instead.
    let script = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" --exact fail_stop::the_child_fills_its_disk --nocapture";
    let mut child = Command::new("sh");
    child.args(["-c", script]).arg(std::env::current_exe().unwrap()).env(DATA, folder.path());
    let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
    let said: Vec<&str> = output.lines().collect();
    let ended: Vec<&str> =
        said.iter().copied().filter(|line| ["FIRST", "LATER", "FATAL"].iter().any(|w| line.starts_with(w))).collect();
    assert_eq!(ended, ["FIRST unknown", "LATER failed", "LATER failed", "LATER failed", "FATAL 1"], "{output}");

    let clock = Arc::new(HandClock::new());
    let store = longtake_store::open(&folder.url(), options(clock.clone())).unwrap();
    let given = Given::new(store, clock);
    let jobs: Vec<&str> = said.iter().filter_map(|line| line.strip_prefix("JOB ")).collect();
    assert!(jobs.len() > 10, "{output}");
    for job in jobs {
        assert!(given.store.get(PROJECT, job.parse().unwrap()).await.unwrap().is_some(), "{job} is lost");
    }
    // Behind the ids of the child, whose clock and random numbers began alike.
    given.clock.advance(Duration::from_secs(3_600));
    given.queued().await;
}
