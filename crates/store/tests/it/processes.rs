//! Executors on PostgreSQL, besides the common cases: their numbers, and processes of one host that are gone.

use std::sync::Arc;
use std::time::Duration;

use longtake_core::id::ExecutorId;
use longtake_core::store::{ExecutorInfo, ExecutorRow, ProcessInfo, Store};
use longtake_store::PostgresTuning;
use longtake_testing::postgres::TestDatabase;

use crate::given::{Given, HandClock, info, options};

const TTL: Duration = Duration::from_secs(15);

async fn store(database: &TestDatabase, clock: &Arc<HandClock>) -> Arc<dyn Store> {
    let tuning = PostgresTuning { injected_clock: true, connections: 2, ..PostgresTuning::default() };
    longtake_store::connect(&database.url(), options(clock.clone()), tuning).await.unwrap()
}

/// This very process, or one of this host.
fn process(pid: u32) -> ExecutorInfo {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned();
    let pid_namespace = std::fs::read_link("/proc/self/ns/pid").unwrap().to_string_lossy().into_owned();
    let pid = i32::try_from(pid).unwrap();
    // A start that is not ours would say that our number was given away.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19)?.parse().ok());
    let process =
        ProcessInfo { host: "here".to_owned(), boot_id, pid_namespace, pid, started_ticks: ticks.unwrap_or(1) };
    ExecutorInfo { process, ttl: TTL }
}

async fn row(store: &dyn Store, executor: ExecutorId) -> ExecutorRow {
    store.executors(10).await.unwrap().into_iter().find(|row| row.executor == executor).unwrap()
}

#[tokio::test]
async fn numbers_of_executors_are_drawn_by_lot() {
    let database = TestDatabase::create();
    let clock = Arc::new(HandClock::new());
    let given = Given::new(store(&database, &clock).await, clock);
    let mut numbers = Vec::new();
    for _ in 0..20 {
        numbers.push(given.executor().await.0);
        given.clock.advance(Duration::from_millis(1));
    }
    let listed: Vec<i64> = given.store.executors(100).await.unwrap().iter().map(|row| row.executor.0).rev().collect();
    assert_eq!(listed, numbers, "newest first, whatever their numbers");
    assert!(numbers.iter().all(|number| *number > 0), "{numbers:?}");
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), numbers.len());
    assert_ne!(sorted, numbers, "a sequence would begin anew after lost history");
}

#[tokio::test]
async fn a_silent_process_of_this_host_that_is_gone_is_noticed_without_a_new_one() {
    let database = TestDatabase::create();
    let clock = Arc::new(HandClock::new());
    let (ours, theirs) = (store(&database, &clock).await, store(&database, &clock).await);
    let given = Given::new(ours, clock);
    let alive = given.store.register_executor(process(std::process::id())).await.unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let gone = theirs.register_executor(process(pid)).await.unwrap();
    let process = ProcessInfo { host: "there".to_owned(), ..info().process };
    let elsewhere = theirs.register_executor(ExecutorInfo { process, ttl: TTL }).await.unwrap();
    given.clock.advance(TTL);
    given.store.reap(100).await.unwrap();
    assert_eq!(row(&*given.store, gone).await.process_dead_at, None, "it is not silent yet");
    given.store.beat(alive, Vec::new()).await.unwrap();
    given.clock.advance(Duration::from_millis(1));
    given.store.reap(100).await.unwrap();
    let now = Some(given.now());
    let row_of_gone = row(&*given.store, gone).await;
    assert_eq!((row_of_gone.dead_at, row_of_gone.process_dead_at), (now, now));
    assert_eq!(row(&*given.store, alive).await.dead_at, None);
    let silent = row(&*given.store, elsewhere).await;
    assert_eq!((silent.dead_at, silent.process_dead_at), (now, None), "a missed beat proves nothing");
    // A process that lives and only fell silent is given up, and may still send.
    given.clock.advance(TTL + Duration::from_millis(1));
    given.store.reap(100).await.unwrap();
    let silent = row(&*given.store, alive).await;
    assert_eq!((silent.dead_at, silent.process_dead_at), (Some(given.now()), None));
}
