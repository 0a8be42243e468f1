//! The feed of PostgreSQL against transactions that commit in any order: paging by number alone loses, ours does not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longtake_core::feed::{FeedCursor, Tail};
use longtake_core::id::JobId;
use longtake_core::store::{Store, StoreError};
use longtake_store::{OpenOptions, PostgresTuning};
use longtake_testing::postgres::{PostgresCluster, PostgresOptions};
use longtake_testing::wait_until;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::feed::{Place, assert_dense, place};
use crate::given::{HandClock, PROJECT, Seeded, options};

const WRITERS: usize = 24;
const TRANSACTIONS: u32 = 40;
const EVENTS: u32 = 3;
const BOUND: Duration = Duration::from_secs(60);

async fn store(url: &str) -> Arc<dyn Store> {
    store_with(url, 1).await
}

/// Another process draws other random numbers.
async fn store_with(url: &str, seed: u64) -> Arc<dyn Store> {
    let options = OpenOptions { random: Arc::new(Seeded::new(seed)), ..options(Arc::new(HandClock::new())) };
    longtake_store::connect(url, options, PostgresTuning::default()).await.unwrap()
}

async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// An event as a store writes it.
async fn write(client: &Client, job: JobId, ver: u32) {
    let sql =
        "insert into event (job, ver, project, type, at, body) values ($1, $2, $3, 7, now_us(), '{\"state\":30}')";
    let ver = i32::try_from(ver).unwrap();
    client.execute(sql, &[&Uuid::from_bytes(*job.as_bytes()), &ver, &PROJECT.0]).await.unwrap();
}

/// Transactions that take a number at their begin and some time to their end.
async fn write_slowly(url: String, writer: usize, running: Arc<AtomicUsize>) {
    let client = session(&url).await;
    let job = JobId::from_bytes([u8::try_from(writer).unwrap(); 16]);
    for transaction in 0..TRANSACTIONS {
        client.batch_execute("begin").await.unwrap();
        for event in 0..EVENTS {
            write(&client, job, transaction * EVENTS + event + 1).await;
        }
        // One in eight is slow, each at another time.
        let slow = (usize::try_from(transaction).unwrap() + writer).is_multiple_of(8);
        let wait = if slow { "select pg_sleep(0.04)" } else { "select pg_sleep(random() * 0.004)" };
        client.batch_execute(wait).await.unwrap();
        client.batch_execute("commit").await.unwrap();
    }
    running.fetch_sub(1, Ordering::SeqCst);
}

/// The page that looks right and is not.
async fn by_number_alone(client: &Client, after: &mut i64, seen: &mut BTreeSet<i64>) {
    let rows = client.query("select seq from event where seq > $1 order by seq limit 100", &[&*after]).await.unwrap();
    for row in rows {
        *after = row.get(0);
        seen.insert(*after);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_among_writers_that_commit_in_any_order() {
    let cluster = PostgresCluster::start();
    let url = cluster.create_database("feed");
    let store = store(&url).await;
    let begin = store.feed(None, None, 10).await.unwrap().next;
    let mut tail = store.tail(None).await.unwrap().1;
    let running = Arc::new(AtomicUsize::new(WRITERS));
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write_slowly(url.clone(), writer, Arc::clone(&running)))).collect();
    let naive = session(&url).await;
    let (mut after, mut by_number) = (0, BTreeSet::new());
    let (mut cursor, mut paged, mut told): (FeedCursor, Vec<Place>, Vec<Place>) = (begin, Vec::new(), Vec::new());
    let total = WRITERS * usize::try_from(TRANSACTIONS * EVENTS).unwrap();
    wait_until("every event comes", BOUND, async || {
        let over = running.load(Ordering::SeqCst) == 0;
        let page = store.feed(None, Some(cursor), 50).await.unwrap();
        paged.extend(page.events.iter().map(|(_, event)| place(event)));
        cursor = page.next;
        let (events, next) = store.tail(Some(tail.clone())).await.unwrap();
        told.extend(events.iter().map(place));
        tail = next;
        let before = by_number.len();
        by_number_alone(&naive, &mut after, &mut by_number).await;
        over && page.caught_up && page.events.is_empty() && events.is_empty() && by_number.len() == before
    })
    .await;
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!((paged.len(), told.len()), (total, total), "pages, tail");
    assert_dense(&paged);
    assert_dense(&told);
    let lost = total - by_number.len();
    println!("{total} events of {WRITERS} writers: 0 lost by our pages and by the tail, {lost} by number alone");
    assert!(lost > 0, "the test is blind: its writers commit in the order of their numbers");
}

/// Three transactions: the first to begin writes last, and one in between stays open.
#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_events_keep_their_order_whatever_transaction_wrote_them() {
    let cluster = PostgresCluster::start();
    let url = cluster.create_database("feed");
    let store = store(&url).await;
    let begin = store.feed(None, None, 10).await.unwrap().next;
    let job = JobId::from_bytes([7; 16]);
    let (early, open, late) = (session(&url).await, session(&url).await, session(&url).await);
    for client in [&early, &open, &late] {
        client.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
    }
    write(&late, job, 1).await;
    late.batch_execute("commit").await.unwrap();
    write(&early, job, 2).await;
    early.batch_execute("commit").await.unwrap();

    // Number 2 is settled and number 1 is not: neither is told by the feed, both by what follows it.
    let settled = store.feed(None, Some(begin), 10).await.unwrap();
    assert_eq!(settled.events, [], "number 2 stands before number 1, but comes after it");
    let (events, _) = store.tail(Some(Tail::at(settled.next))).await.unwrap();
    assert_eq!(events.iter().map(place).collect::<Vec<_>>(), [(job, 1), (job, 2)]);
    wait_until("the open transaction is told of", BOUND, async || {
        store.stats().await.unwrap().horizon_age > Duration::ZERO
    })
    .await;

    open.batch_execute("commit").await.unwrap();
    for (from, limit) in [(begin, 1), (begin, 10), (settled.next, 1), (settled.next, 10)] {
        let (mut cursor, mut seen) = (from, Vec::new());
        wait_until("both come", BOUND, async || {
            let page = store.feed(None, Some(cursor), limit).await.unwrap();
            cursor = page.next;
            seen.extend(page.events);
            seen.len() >= 2 && page.caught_up
        })
        .await;
        assert_eq!(seen.iter().map(|(_, event)| place(event)).collect::<Vec<_>>(), [(job, 1), (job, 2)]);
        // Who has seen the first only must not resume behind both.
        let (first, second) = (seen[0].0, seen[1].0);
        assert!(first < second, "{first} {second}");
        let rest = store.feed(None, Some(first), 10).await.unwrap();
        assert!(rest.events.iter().any(|(_, event)| place(event) == (job, 2)), "{rest:?}");
        assert_eq!(store.feed(None, Some(second), 10).await.unwrap().events, []);
    }
}

/// A dump that is restored elsewhere brings its events along, under numbers of transactions that mean nothing there.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_another_cluster_begins_a_new_history() {
    let cluster = PostgresCluster::start();
    let url = cluster.create_database("feed");
    let job = JobId::from_bytes([7; 16]);
    let before = store(&url).await;
    let client = session(&url).await;
    let old = before.feed(None, None, 10).await.unwrap().next;
    for ver in 1..=3 {
        write(&client, job, ver).await;
    }
    drop(before);
    assert_eq!(
        store_with(&url, 3).await.feed(None, Some(old), 10).await.unwrap().events.len(),
        3,
        "a restart changes nothing"
    );
    // As after a restore: the events are of the future of this cluster, whose name is another.
    let copied = "update event set xid = (xid::text::bigint + 1000000)::text::xid8; \
                  update meta set value = '1' where key = 'feed_cluster'";
    client.batch_execute(copied).await.unwrap();

    let after = store_with(&url, 2).await;
    assert!(matches!(after.feed(None, Some(old), 10).await, Err(StoreError::Cursor)));
    let here = after.feed(None, None, 10).await.unwrap().next;
    let whole = after.feed(None, Some(FeedCursor { xid: 0, seq: 0, ..here }), 10).await.unwrap();
    assert_eq!(
        whole.events.iter().map(|(_, event)| place(event)).collect::<Vec<_>>(),
        [(job, 1), (job, 2), (job, 3)],
        "what was copied stands before all that is to come"
    );
    write(&client, job, 4).await;
    let mut seen = Vec::new();
    wait_until("the new one comes", BOUND, async || {
        let page = after.feed(None, Some(whole.next), 10).await.unwrap();
        seen = page.events.iter().map(|(_, event)| place(event)).collect();
        !seen.is_empty()
    })
    .await;
    assert_eq!(seen, [(job, 4)]);
}

/// A crash makes the server forget transactions that left nothing on the disk, and give their numbers away once more.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_a_crash_gives_away_again_lose_nothing() {
    let settings = vec![("wal_writer_delay".to_owned(), "10s".to_owned())];
    let mut cluster = PostgresCluster::start_with(PostgresOptions { settings, ..PostgresOptions::default() });
    let url = cluster.create_database("feed");
    let store = store(&url).await;
    let begin = store.feed(None, None, 10).await.unwrap().next;
    let tail = store.tail(None).await.unwrap().1;
    let job = JobId::from_bytes([7; 16]);
    let client = session(&url).await;
    write(&client, job, 1).await;
    for _ in 0..500 {
        client.batch_execute("begin; select pg_current_xact_id(); rollback").await.unwrap();
    }
    let numbers = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    let before: i64 = client.query_one(numbers, &[]).await.unwrap().get(0);
    let page = store.feed(None, Some(begin), 10).await.unwrap();
    let cursor = store.feed(None, Some(page.next), 10).await.unwrap().next;
    let (told, tail) = store.tail(Some(tail)).await.unwrap();
    let (joined, joint) = store.tail(Some(Tail::at(begin))).await.unwrap();
    assert_eq!((page.events.len(), told.len(), joined.len()), (1, 1, 1));

    cluster.kill9();
    cluster.restart();
    let client = session(&url).await;
    let after: i64 = client.query_one(numbers, &[]).await.unwrap().get(0);
    assert!(after < before, "the test is blind: no number is given away again ({before}, then {after})");
    write(&client, job, 2).await;
    let mut events = Vec::new();
    wait_until("the feed goes on", BOUND, async || {
        // Until it has connected anew.
        let Ok(page) = store.feed(None, Some(cursor), 10).await else { return false };
        events = page.events;
        !events.is_empty()
    })
    .await;
    assert_eq!(events.iter().map(|(_, event)| place(event)).collect::<Vec<_>>(), [(job, 2)]);
    for note in [tail, joint, Tail::at(cursor)] {
        let (told, _) = store.tail(Some(note.clone())).await.unwrap();
        assert_eq!(told.iter().map(place).collect::<Vec<_>>(), [(job, 2)], "{note:?}");
    }
}
