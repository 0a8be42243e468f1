//! Retention on PostgreSQL, besides the common cases: days that go as a whole, calls at the same time, and crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longtake_core::apply::Input;
use longtake_core::attempt::Retry;
use longtake_core::feed::FeedCursor;
use longtake_core::id::{JobId, PoolId, ProjectId};
use longtake_core::retention::{Expired, Keep, Retention};
use longtake_core::store::{CommandResult, IdempotencyKey, NewJob, Store, StoreError};
use longtake_store::PostgresTuning;
use longtake_testing::postgres::{PostgresCluster, TestDatabase};
use longtake_testing::wait_until;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::given::{BUDGET, Given, HandClock, PROJECT, options, rejected};

const BOUND: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_hours(24);
const OTHER: ProjectId = ProjectId(2);
/// The day on which the clock of the tests begins.
const FIRST_DAY: &str = "event_20260921";
/// Calls until a round is through.
const MAX_CALLS: usize = 1_000;

async fn store(url: &str, clock: &Arc<HandClock>) -> Arc<dyn Store> {
    let tuning = PostgresTuning { injected_clock: true, connections: 4, ..PostgresTuning::default() };
    longtake_store::connect(url, options(clock.clone()), tuning).await.unwrap()
}

/// Two processes on one database.
async fn two(url: &str) -> (Given, Arc<dyn Store>) {
    let clock = Arc::new(HandClock::new());
    let (one, other) = (store(url, &clock).await, store(url, &clock).await);
    (Given::new(one, clock), other)
}

async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn events_for(events: Duration) -> Retention {
    Retention { default: Keep { events: Some(events), ..Keep::default() }, ..Retention::default() }
}

fn jobs_for(jobs: Duration) -> Retention {
    Retention { default: Keep { jobs: Some(jobs), ..Keep::default() }, ..Retention::default() }
}

/// Calls until there is no more; their sum.
async fn expire(store: &dyn Store, policy: &Retention, limit: usize) -> Expired {
    let mut sum = Expired::default();
    for _ in 0..MAX_CALLS {
        let expired = store.expire(policy, limit).await.unwrap();
        sum.jobs += expired.jobs;
        sum.events += expired.events;
        sum.artifacts.extend(expired.artifacts);
        if !expired.more {
            return sum;
        }
    }
    panic!("no end after {MAX_CALLS} calls: {sum:?}");
}

async fn count(client: &Client, from: &str) -> i64 {
    client.query_one(&format!("select count(*) from {from}"), &[]).await.unwrap().get(0)
}

async fn days(client: &Client) -> Vec<String> {
    let sql = "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid \
               where i.inhparent = 'event'::regclass order by 1";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn has_first_day(client: &Client) -> bool {
    days(client).await.iter().any(|day| day == FIRST_DAY)
}

/// Number and place in the feed of each event of a job.
async fn places(client: &Client, job: JobId) -> Vec<(i32, String, i64)> {
    let sql = "select ver, xid::text, seq from event where job = $1 order by ver";
    let rows = client.query(sql, &[&Uuid::from_bytes(*job.as_bytes())]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Where a reader stands that has read everything.
async fn end(store: &dyn Store, from: FeedCursor, events: usize) -> FeedCursor {
    let (mut cursor, mut seen) = (from, 0);
    wait_until("the events settle", BOUND, async || {
        let page = store.feed(None, Some(cursor), 100).await.unwrap();
        cursor = page.next;
        seen += page.events.len();
        seen >= events && page.caught_up
    })
    .await;
    cursor
}

async fn is_expired(store: &dyn Store, project: Option<ProjectId>, cursor: FeedCursor) -> bool {
    match store.feed(project, Some(cursor), 10).await {
        Ok(_) => false,
        Err(StoreError::CursorExpired) => true,
        Err(error) => panic!("{error}"),
    }
}

/// Jobs that failed a moment after they were created, with keys.
async fn failed(given: &Given, many: usize) -> Vec<JobId> {
    let executor = given.executor().await;
    let mut jobs = Vec::new();
    for at in 0..many {
        let idempotency = Some(IdempotencyKey { key: format!("k{at}").into(), fingerprint: [0; 32] });
        jobs.push(given.create(NewJob { idempotency, ..given.new_job() }).await);
        let mut claim = given.acquire(executor).await;
        given.open(executor, &mut claim).await;
        given.testify(&claim, rejected(Retry::Never)).await;
        given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    }
    jobs
}

#[tokio::test]
async fn a_day_goes_as_a_whole_and_unfinished_jobs_keep_their_events() {
    let database = TestDatabase::create();
    let (given, _) = two(&database.url()).await;
    let client = session(&database.url()).await;
    let store = &*given.store;
    let begin = store.feed(None, None, 10).await.unwrap().next;
    let executor = given.executor().await;
    let done = given.completed(executor, "p-1").await.work.job;
    let held = given.held(executor).await.work.job;
    let all = end(store, begin, 9).await;
    let (kept, listed) = (places(&client, held).await, store.events_after(held, 0, 100).await.unwrap());
    assert_eq!(kept.len(), 4);
    let last = FeedCursor { xid: kept[3].1.parse().unwrap(), seq: u64::try_from(kept[3].2).unwrap(), ..all };
    assert_eq!(last, all, "the last event is one that is kept");

    // A moment before the day's last event is as old as the policy allows: nothing of the day goes as a whole.
    given.clock.advance(DAY);
    assert_eq!(expire(store, &events_for(DAY * 2), 100).await, Expired::default());
    assert!(has_first_day(&client).await && !is_expired(store, None, begin).await);
    given.clock.advance(DAY * 2);
    let expired = expire(store, &events_for(DAY), 100).await;
    assert_eq!(expired, Expired::default(), "days that went as a whole are not counted");
    assert!(!has_first_day(&client).await);
    assert_eq!(store.events_after(done, 0, 100).await.unwrap(), []);
    assert!(store.get(PROJECT, done).await.unwrap().is_some(), "the job is kept for ever");
    assert_eq!(store.events_after(held, 0, 100).await.unwrap(), listed);
    assert_eq!(places(&client, held).await, kept);
    assert_eq!(count(&client, "event_default").await, 4);
    assert_eq!(count(&client, "feed_day").await, 0);

    for project in [None, Some(PROJECT)] {
        assert!(is_expired(store, project, begin).await, "{project:?}");
        let before = FeedCursor { seq: last.seq - 1, ..last };
        assert!(is_expired(store, project, before).await, "{project:?}: its last event was of that day");
        assert!(!is_expired(store, project, last).await, "{project:?}: it has read everything that went");
    }
    assert!(!is_expired(store, Some(OTHER), begin).await, "nothing of it went");
    let job = given.queued().await;
    let mut seen = Vec::new();
    wait_until("the new event settles", BOUND, async || {
        seen = store.feed(None, Some(all), 10).await.unwrap().events;
        !seen.is_empty()
    })
    .await;
    assert_eq!(seen.iter().map(|(_, told)| told.event.job).collect::<Vec<_>>(), [job]);
}

#[tokio::test]
async fn empty_days_go_and_the_cursor_of_now_is_behind_what_went() {
    let database = TestDatabase::create();
    let (given, _) = two(&database.url()).await;
    let client = session(&database.url()).await;
    let store = &*given.store;
    let begin = store.feed(None, None, 10).await.unwrap().next;
    let executor = given.executor().await;
    given.completed(executor, "p-1").await;
    end(store, begin, 5).await;
    given.clock.advance(DAY);
    given.held(executor).await;
    let policy = jobs_for(DAY);
    given.clock.advance(DAY * 2);
    assert_eq!(store.durations("fast", 10).await.unwrap().len(), 1);
    let removed = store.expire(&policy, 100).await.unwrap();
    assert_eq!((removed.jobs, removed.events, removed.artifacts.len(), removed.more), (1, 5, 1, false));
    assert!(has_first_day(&client).await, "it was not empty when the call began");
    assert_eq!(store.expire(&policy, 100).await.unwrap(), Expired::default());
    let left = days(&client).await;
    assert_eq!(left, ["event_20260922", "event_20260923", "event_20260924", "event_default"]);
    for table in ["artifact", "duration", "idem", "exchange"] {
        assert_eq!(count(&client, table).await, 0, "{table}");
    }
    assert!(is_expired(store, None, begin).await);
    let now = store.feed(None, None, 10).await.unwrap().next;
    assert!(!is_expired(store, None, now).await);

    given.clock.advance(DAY * 10);
    expire(store, &policy, 100).await;
    assert_eq!(days(&client).await, ["event_20260922", "event_default"], "the second day holds events of a live job");
    // All that is left goes: who begins now does not stand before it.
    client.batch_execute("delete from work; update job set state = 92, finished_at = created_at").await.unwrap();
    given.clock.advance(DAY);
    expire(store, &policy, 100).await;
    expire(store, &policy, 100).await;
    assert_eq!((count(&client, "event").await, days(&client).await), (0, vec!["event_default".to_owned()]));
    let now = store.feed(None, None, 10).await.unwrap().next;
    assert!(!is_expired(store, None, now).await && !is_expired(store, Some(PROJECT), now).await);
}

#[tokio::test]
async fn a_day_in_use_is_left_alone() {
    let database = TestDatabase::create();
    let (given, _) = two(&database.url()).await;
    let (client, reader) = (session(&database.url()).await, session(&database.url()).await);
    let store = &*given.store;
    let executor = given.executor().await;
    given.completed(executor, "p-1").await;
    given.held(executor).await;
    given.clock.advance(DAY * 3);
    let policy = events_for(DAY);
    for held in [format!("lock table only {FIRST_DAY} in access share mode"), "select from event limit 1".to_owned()] {
        reader.batch_execute(&format!("begin; {held}")).await.unwrap();
        store.expire(&policy, 100).await.unwrap();
        assert!(has_first_day(&client).await, "{held}");
        given.queued().await;
        reader.batch_execute("rollback").await.unwrap();
    }
    assert_eq!(count(&client, FIRST_DAY).await, 4, "what is over went by the walk");
    store.expire(&policy, 100).await.unwrap();
    assert!(!has_first_day(&client).await);
    assert_eq!(count(&client, "event_default").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_the_same_time_remove_each_job_once() {
    let database = TestDatabase::create();
    let (given, other) = two(&database.url()).await;
    let client = session(&database.url()).await;
    let jobs = 200;
    let new = (0..jobs).map(|_| given.new_job()).collect();
    given.store.create(new).await.unwrap();
    client.batch_execute("delete from work; update job set state = 92, finished_at = created_at").await.unwrap();
    given.clock.advance(DAY * 2);
    let policy = jobs_for(DAY);
    let mut removed = 0;
    wait_until("all are removed", BOUND, async || {
        let (one, two, three) =
            tokio::join!(given.store.expire(&policy, 7), other.expire(&policy, 5), given.store.expire(&policy, 3));
        removed += one.unwrap().jobs + two.unwrap().jobs + three.unwrap().jobs;
        removed >= jobs
    })
    .await;
    assert_eq!(removed, jobs);
    for table in ["job", "job_req", "event", "work"] {
        assert_eq!(count(&client, table).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_at_the_same_time_finds_a_job_or_none() {
    let database = TestDatabase::create();
    let (given, other) = two(&database.url()).await;
    let client = session(&database.url()).await;
    let jobs = failed(&given, 60).await;
    given.clock.advance(DAY * 2);
    let policy = jobs_for(DAY);
    let retries = async {
        let mut done = Vec::new();
        // From the end, so that both meet.
        for job in jobs.iter().rev() {
            match given.store.retry(PROJECT, *job, "me".into(), PoolId::NONE).await.unwrap() {
                CommandResult::Done(_) => done.push(*job),
                CommandResult::NotFound => {}
                CommandResult::Refused(job) => panic!("{job:?}"),
            }
        }
        done
    };
    let removals = async {
        let mut removed = 0;
        for _ in 0..jobs.len() {
            removed += other.expire(&policy, 2).await.unwrap().jobs;
        }
        removed
    };
    let (retried, removed) = tokio::join!(retries, removals);
    // What was locked when the walk passed is found by the next one.
    given.clock.advance(DAY);
    let removed = removed + expire(&*other, &policy, 100).await.jobs;
    assert_eq!(usize::try_from(removed).unwrap() + retried.len(), jobs.len());
    println!("{} retried, {removed} removed", retried.len());
    for job in &jobs {
        let seen = given.store.timeline(PROJECT, *job).await.unwrap();
        assert_eq!(seen.is_some(), retried.contains(job));
        if let Some(seen) = seen {
            assert_eq!((seen.attempts.len(), seen.events.len()), (1, 4), "{job}");
        }
        let id = format!("job = '{}'", Uuid::from_bytes(*job.as_bytes()));
        for table in ["job_req", "idem", "work"] {
            let rows = count(&client, &format!("{table} where {id}")).await;
            assert_eq!(rows, i64::from(retried.contains(job)), "{table} of {job}");
        }
        if !retried.contains(job) {
            let left = count(&client, &format!("event where {id}")).await;
            assert_eq!(left + count(&client, &format!("attempt where {id}")).await, 0, "{job}");
        }
    }
}

/// A page passes over other projects' events, and where it ends is asked in a second statement: what goes between the two
/// must not make it end too far on.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_misses_nothing_while_other_projects_events_go() {
    let database = TestDatabase::create();
    let (given, other) = two(&database.url()).await;
    let client = session(&database.url()).await;
    let store = &*given.store;
    let hasty = store.project("hasty").await.unwrap();
    let begin = store.feed(None, None, 10).await.unwrap().next;
    let (many, own) = (6_000, 20);
    let new: Vec<NewJob> = (0..many).map(|_| NewJob { project: hasty, ..given.new_job() }).collect();
    for batch in new.chunks(1_000) {
        store.create(batch.to_vec()).await.unwrap();
    }
    client.batch_execute("delete from work; update job set state = 92, finished_at = created_at").await.unwrap();
    let mut expected = Vec::new();
    for _ in 0..own {
        expected.push(given.queued().await);
    }
    end(store, begin, many + own).await;
    given.clock.advance(DAY * 2);
    let policy = Retention { default: Keep::default(), projects: [(hasty, jobs_for(DAY).default)].into() };
    let removing = AtomicBool::new(true);
    let removals = async {
        let removed = expire(&*other, &policy, 150).await;
        removing.store(false, Ordering::SeqCst);
        removed.jobs
    };
    let reads = async {
        let mut rounds = 0;
        while removing.load(Ordering::SeqCst) || rounds == 0 {
            let (mut cursor, mut seen, mut caught_up) = (begin, Vec::new(), false);
            while !caught_up {
                let page = store.feed(Some(PROJECT), Some(cursor), 30).await.unwrap();
                seen.extend(page.events.iter().map(|(_, told)| told.event.job));
                (cursor, caught_up) = (page.next, page.caught_up);
            }
            assert_eq!(seen, expected, "round {rounds}");
            rounds += 1;
        }
        rounds
    };
    let (removed, rounds) = tokio::join!(removals, reads);
    println!("read {rounds} times meanwhile");
    assert_eq!(removed, u64::try_from(many).unwrap());
    assert!(is_expired(store, None, begin).await && is_expired(store, Some(hasty), begin).await);
}

#[tokio::test]
async fn what_somebody_is_changing_is_passed_over_until_the_walk_begins_anew() {
    let database = TestDatabase::create();
    let (given, _) = two(&database.url()).await;
    let client = session(&database.url()).await;
    let jobs = failed(&given, 3).await;
    given.clock.advance(DAY * 2);
    let policy = jobs_for(DAY);
    let id = Uuid::from_bytes(*jobs[1].as_bytes());
    client.batch_execute("begin").await.unwrap();
    client.query("select from job where id = $1 for no key update", &[&id]).await.unwrap();
    assert_eq!(expire(&*given.store, &policy, 100).await.jobs, 2);
    client.batch_execute("rollback").await.unwrap();
    assert_eq!(expire(&*given.store, &policy, 100).await.jobs, 0);
    given.clock.advance(DAY);
    assert_eq!(expire(&*given.store, &policy, 100).await.jobs, 1);
}

#[tokio::test]
async fn a_key_whose_job_went_makes_a_new_one() {
    let database = TestDatabase::create();
    let (given, _) = two(&database.url()).await;
    failed(&given, 1).await;
    given.clock.advance(DAY * 2);
    assert_eq!(expire(&*given.store, &jobs_for(DAY), 100).await.jobs, 1);
    let idempotency = Some(IdempotencyKey { key: "k0".into(), fingerprint: [1; 32] });
    given.create(NewJob { idempotency, ..given.new_job() }).await;
}

/// The server dies after the rows of a call were removed and before its commit; and while a day is going.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_leaves_everything_as_it_was() {
    let mut cluster = PostgresCluster::start();
    let url = cluster.create_database("retention");
    let (given, other) = two(&url).await;
    let jobs = 20;
    failed(&given, jobs).await;
    let executor = given.executor().await;
    given.clock.advance(Keep::PIN_MARGIN + Duration::from_secs(1));
    let held = given.held(executor).await.work.job;
    let kept = places(&session(&url).await, held).await;
    given.clock.advance(DAY * 3);
    // Where it is stopped: the walk at its note, the day where events of live jobs move.
    for (policy, table) in [(jobs_for(DAY), "retention"), (events_for(DAY), "work")] {
        let blocker = session(&url).await;
        let lock = if table == "work" { "access exclusive" } else { "share" };
        blocker.batch_execute(&format!("begin; lock table {table} in {lock} mode")).await.unwrap();
        let (store, again) = (Arc::clone(&other), policy.clone());
        let call = tokio::spawn(async move {
            loop {
                drop(store.expire(&again, 100).await);
            }
        });
        wait_until("the call is in the middle", BOUND, async || {
            count(&blocker, &format!("pg_locks where relation = '{table}'::regclass and not granted")).await > 0
        })
        .await;
        cluster.kill9();
        call.abort();
        drop(call.await);
        cluster.restart();
        let client = session(&url).await;
        assert_eq!(count(&client, "job").await, i64::try_from(jobs).unwrap() + 1);
        assert_eq!(count(&client, "event").await, i64::try_from(jobs).unwrap() * 3 + 4);
        assert_eq!((count(&client, "event_default").await, has_first_day(&client).await), (0, true));
        assert_eq!(places(&client, held).await, kept);
    }
    let client = session(&url).await;
    let store = &*given.store;
    wait_until("the store has connected anew", BOUND, async || store.now().await.is_ok()).await;
    assert_eq!(expire(store, &jobs_for(DAY), 100).await.jobs, u64::try_from(jobs).unwrap());
    expire(store, &events_for(DAY), 100).await;
    assert_eq!((count(&client, "event").await, has_first_day(&client).await), (4, false));
    assert_eq!(places(&client, held).await, kept);
}
