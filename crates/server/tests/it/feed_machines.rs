//! Live events between machines: one commits, the other's listeners hear it, also across a restart of the database.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use longtake::clock::{OsRandom, SystemClock};
use longtake_core::id::ProjectId;
use longtake_core::store::Store;
use longtake_engine::{FeedSubscription, Hub};
use longtake_store::{OpenOptions, PostgresTuning};
use longtake_testing::postgres::PostgresCluster;
use longtake_testing::wait_until;

use crate::feed::hanging;

const BOUND: Duration = Duration::from_secs(30);

async fn machine(url: &str) -> Arc<dyn Store> {
    let options = OpenOptions {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        fatal: Arc::new(|reason| panic!("the store stopped: {reason}")),
    };
    longtake_store::connect(url, options, PostgresTuning::default()).await.unwrap()
}

/// The next event's id.
async fn heard(feed: &mut FeedSubscription) -> String {
    let event = async {
        loop {
            if let Some(told) = feed.next().await.unwrap().event {
                return format!("{}", told.event.job);
            }
        }
    };
    tokio::time::timeout(BOUND, event).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_machine_commits_is_heard_on_the_other_also_across_a_restart_of_the_database() {
    let mut cluster = PostgresCluster::start();
    let url = cluster.create_database("feed");
    let (here, there) = (machine(&url).await, machine(&url).await);
    let hub = Hub::of(&*here);
    let follower = tokio::spawn(hub.clone().follow(Arc::clone(&here), Arc::new(SystemClock)));
    let mut feed = hub.subscribe_feed(Some(ProjectId(1)));
    feed.begun().await.unwrap();
    let first = hanging("first");
    let mut job = hub.subscribe(first.job);
    there.create(vec![first.clone()]).await.unwrap();
    assert_eq!(heard(&mut feed).await, first.job.to_string());
    tokio::time::timeout(BOUND, job.changed()).await.unwrap();

    // Committed before the hub could look again, and while nobody knows: the old note tells it all.
    let others: Vec<_> = (0..20).map(|n| hanging(&format!("number {n}"))).collect();
    there.create(others[..10].to_vec()).await.unwrap();
    cluster.kill9();
    cluster.restart();
    wait_until("the other machine is back", BOUND, async || there.ready().await.is_ok()).await;
    there.create(others[10..].to_vec()).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < others.len() {
        assert!(seen.insert(heard(&mut feed).await), "each once");
    }
    assert_eq!(seen, others.iter().map(|new| new.job.to_string()).collect());
    follower.abort();
}
