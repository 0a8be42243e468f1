//! What opening does: URLs, what earlier processes owned, room, other versions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use longtake_core::apply::Input;
use longtake_core::id::{ExecutorId, JobId};
use longtake_core::store::{Beat, StoreError};
use longtake_core::time::{Clock, Timestamp};
use longtake_store::{OpenError, Tuning};
use rusqlite::Connection;

use crate::given::{Folder, Given, HandClock, MODEL, PROJECT, Seeded, all_of, options, placed, released, wanted};

fn given(folder: &Folder, clock: &Arc<HandClock>) -> Given {
    let store = longtake_store::open(&folder.url(), options(clock.clone())).unwrap();
    Given::new(store, clock.clone()).alone()
}

#[test]
fn other_urls_name_no_store_and_are_not_shown() {
    let clock = Arc::new(HandClock::new());
    let Err(error) = longtake_store::open("postgres://me:secret@db/x", options(clock.clone())) else { panic!() };
    assert!(error.to_string().contains("write sqlite:PATH or postgres://HOST/DATABASE"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(matches!(longtake_store::open("longtake.db", options(clock)), Err(OpenError::Unsupported { .. })));
}

#[tokio::test]
async fn a_restart_takes_over_what_was_owned() {
    let folder = Folder::new();
    let clock = Arc::new(HandClock::new());
    let before = given(&folder, &clock);
    let old = before.executor().await;
    let claim = before.submitting(old).await;
    let job = before.store.get(PROJECT, claim.work.job).await.unwrap();
    drop(before);

    let after = given(&folder, &clock);
    assert!(after.store.sender_is_dead(old).await.unwrap(), "the lock is the proof");
    assert_eq!(after.store.beat(old, Vec::new()).await.unwrap(), Beat::Dead);
    let new = after.executor().await;
    assert!(new > old);
    assert!(!after.store.sender_is_dead(new).await.unwrap());
    assert_eq!(after.store.beat(new, Vec::new()).await.unwrap(), Beat::Alive(Vec::new()));
    assert_eq!(after.store.get(PROJECT, claim.work.job).await.unwrap(), job);
    // Soon, but not all at once.
    after.clock.advance(Duration::from_millis(200));
    let mut taken = after.acquire(new).await;
    assert_eq!(taken.record, claim.record);
    assert!(taken.fence.0 >= claim.fence.0 + 2, "one for the restart, one for the new owner");
    after.step(new, &mut taken, Input::TakenOver).await;
}

#[tokio::test]
async fn due_times_of_unowned_rows_survive_a_restart() {
    let folder = Folder::new();
    let clock = Arc::new(HandClock::new());
    let before = given(&folder, &clock);
    let old = before.executor().await;
    before.queued().await;
    let claim = before.acquire(old).await;
    let later = before.now() + Duration::from_secs(600);
    before.store.release(old, vec![released(&claim, later)]).await.unwrap();
    drop(before);
    let after = given(&folder, &clock);
    let new = after.executor().await;
    after.clock.advance(Duration::from_secs(599));
    assert!(after.store.acquire(new, &wanted(10)).await.unwrap().is_empty());
    after.clock.advance(Duration::from_secs(1));
    after.acquire(new).await;
}

#[tokio::test]
async fn below_the_low_water_mark_only_creates_are_refused() {
    let folder = Folder::new();
    let clock = Arc::new(HandClock::new());
    let roomy = given(&folder, &clock);
    roomy.queued().await;
    drop(roomy);

    let tuning = Tuning { low_water_bytes: u64::MAX, ..Tuning::default() };
    let store = longtake_store::open_with(&folder.url(), options(clock.clone()), tuning).unwrap();
    let full = Given::new(store, clock);
    let refused = full.store.create(vec![full.new_job()]).await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    assert!(matches!(full.store.ready().await, Err(StoreError::Full)));
    let executor = full.executor().await;
    let mut claim = full.acquire(executor).await;
    full.open(executor, &mut claim).await;
}

#[tokio::test]
async fn an_executor_of_no_process_owns_nothing() {
    let folder = Folder::new();
    let given = given(&folder, &Arc::new(HandClock::new()));
    given.queued().await;
    assert!(given.store.acquire(ExecutorId(1), &wanted(10)).await.unwrap().is_empty());
    assert_eq!(given.store.reap(100).await.unwrap(), 0);
}

#[tokio::test]
async fn an_operation_that_breaks_a_constraint_is_undone_alone() {
    let folder = Folder::new();
    let given = given(&folder, &Arc::new(HandClock::new()));
    let executor = given.executor().await;
    let claim = given.submitting(executor).await;
    // A row that the domain would never make: two API keys with one hash.
    let key = longtake_core::store::ApiKey {
        id: 0,
        name: "one".to_owned(),
        project: PROJECT,
        hash: [1; 32],
        scopes: Vec::new(),
        created_at: given.now(),
        revoked_at: None,
    };
    given.store.create_key(key.clone()).await.unwrap();
    let (again, cancel) =
        tokio::join!(given.store.create_key(key), given.store.request_cancel(PROJECT, claim.work.job));
    assert!(matches!(again, Err(StoreError::Failed(_))), "{again:?}");
    cancel.unwrap();
    assert!(given.record(claim.work.job).await.cancel_pending());
    assert_eq!(given.store.keys().await.unwrap().len(), 1);
}

/// A database as the first version left it, with a job that waits.
fn first_version(path: &Path, job: JobId, due_at: i64) {
    let jobs = include_str!("../../migrations/sqlite/0001_jobs.sql");
    let connection = Connection::open(path).unwrap();
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE schema_migration (
                number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum BLOB NOT NULL, applied_at INTEGER NOT NULL
            ) STRICT",
        )
        .unwrap();
    connection.execute_batch(jobs).unwrap();
    let checksum = digest(&SHA256, jobs.as_bytes());
    connection.execute("INSERT INTO schema_migration VALUES (1, 'jobs', ?1, 0)", [checksum.as_ref()]).unwrap();
    let id = job.as_bytes();
    let insert =
        "INSERT INTO job (id, project, model, state, ver, created_at, priority) VALUES (?1, 1, 'fast', 10, 1, 0, 7)";
    connection.execute(insert, [id]).unwrap();
    let request = br#"{"prompt":"a fox","seconds":4,"width":1280,"height":720}"#;
    connection.execute("INSERT INTO job_req (job, req) VALUES (?1, ?2)", rusqlite::params![id, request]).unwrap();
    connection.execute("INSERT INTO event VALUES (1, ?1, 1, 1, 1, 0, '{\"state\":10}')", [id]).unwrap();
    connection
        .execute("INSERT INTO work (job, kind, due_at) VALUES (?1, 0, ?2)", rusqlite::params![id, due_at])
        .unwrap();
    connection.execute("INSERT INTO executor (host, pid, ttl_us, started_at) VALUES ('h', 1, 1, 5)", []).unwrap();
}

#[tokio::test]
async fn what_the_first_version_left_goes_on() {
    let folder = Folder::new();
    let clock = Arc::new(HandClock::new());
    let job = JobId::new(clock.now(), &Seeded::new(3));
    let due_at = clock.now() + Duration::from_secs(60);
    first_version(&folder.path().join("longtake.db"), job, due_at.as_micros());
    let given = given(&folder, &clock);
    let executor = given.executor().await;
    let [pool] = given.pools([MODEL]).await;
    assert!(given.take(executor, &all_of(&[pool])).await.is_empty(), "not due, and not queued");
    given.clock.advance(Duration::from_secs(60));
    let mut claim = given.acquire(executor).await;
    assert_eq!((claim.work.job, claim.record.priority), (job, 7));
    given.store.release(executor, vec![placed(&claim, Timestamp::NEVER, pool, true)]).await.unwrap();
    let young = given.queued_in(pool).await;
    assert_eq!(given.take(executor, &all_of(&[pool])).await, [job, young], "by its priority");
    claim = given.store.claims(executor, vec![claim.work]).await.unwrap().remove(0);
    given.open(executor, &mut claim).await;
    let old = given.store.executors(10).await.unwrap().remove(1);
    assert_eq!(
        (old.started_at.as_micros(), old.process_dead_at),
        (5, Some(given.now() - Duration::from_millis(60_001)))
    );
}

#[tokio::test]
async fn a_restart_keeps_what_is_queued_and_marks_who_is_dead() {
    let folder = Folder::new();
    let clock = Arc::new(HandClock::new());
    let before = given(&folder, &clock);
    let [pool, other] = before.pools([MODEL, "other-model"]).await;
    let old = before.executor().await;
    let job = before.queued_in(pool).await;
    let left = before.queued_in(other).await;
    assert!(!before.store.confirm_dead(old).await.unwrap());
    drop(before);

    let after = given(&folder, &clock);
    assert!(after.store.confirm_dead(old).await.unwrap(), "the lock has said so already");
    assert!(!after.store.confirm_dead(ExecutorId(old.0 + 1)).await.unwrap());
    let row = after.store.executors(10).await.unwrap().remove(0);
    assert_eq!((row.executor, row.dead_at, row.process_dead_at), (old, Some(after.now()), Some(after.now())));
    let new = after.executor().await;
    let again = after.store.register_pools(vec![(crate::given::ACCOUNT, MODEL.into())]).await.unwrap();
    assert_eq!(again, [pool]);
    assert_eq!(after.take(new, &wanted(10)).await, [left], "its model is gone from the configuration");
    assert_eq!(after.take(new, &all_of(&[pool])).await, [job]);
}

#[test]
fn a_newer_database_is_refused() {
    let folder = Folder::new();
    let clock = Arc::new(HandClock::new());
    drop(longtake_store::open(&folder.url(), options(clock.clone())).unwrap());
    let connection = Connection::open(folder.path().join("longtake.db")).unwrap();
    let newer = "INSERT INTO schema_migration VALUES (99, 'future', x'00', 0)";
    connection.execute(newer, []).unwrap();
    drop(connection);
    let refused = longtake_store::open(&folder.url(), options(clock));
    assert!(matches!(refused, Err(OpenError::NewerSchema { found: 99, .. })));
}

#[test]
fn a_database_damaged_before_an_unclean_stop_is_refused() {
    let folder = Folder::new();
    let clock = Arc::new(HandClock::new());
    drop(longtake_store::open(&folder.url(), options(clock.clone())).unwrap());
    let path = folder.path().join("longtake.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute("UPDATE meta SET value = '0' WHERE key = 'clean'", []).unwrap();
    let root: u32 =
        connection.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'event'", [], |row| row.get(0)).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 64], u64::from(root - 1) * 4096).unwrap();
    drop(file);
    let Err(refused) = longtake_store::open(&folder.url(), options(clock)) else { panic!("opened") };
    assert!(matches!(refused, OpenError::Damaged(_) | OpenError::Database(_)), "{refused}");
}

#[tokio::test]
async fn a_store_keeps_its_timeline_bounded() {
    let folder = Folder::new();
    let given = given(&folder, &Arc::new(HandClock::new()));
    let executor = given.executor().await;
    let claim = given.running(executor, "p-1").await;
    let exchange = |place: u32| longtake_core::provider::Exchange {
        call: "poll",
        at: given.now(),
        request: "GET https://provider.example/v1/videos/p-1".into(),
        status: Some(200),
        duration_ms: place,
        answer: "{}".into(),
    };
    let commit = longtake_core::store::StepCommit {
        work: claim.work,
        fence: claim.fence,
        input: longtake_core::store::StepInput::Job(Input::Progress(10)),
        exchanges: (0..250).map(exchange).collect(),
        release: None,
    };
    given.store.step(executor, vec![commit]).await.unwrap();
    let kept = given.store.timeline(PROJECT, claim.work.job).await.unwrap().unwrap().exchanges;
    assert_eq!((kept.len(), kept[0].1.duration_ms, kept[199].1.duration_ms), (200, 50, 249));
}
