//! Load between real workers (ADR 17): one that joins late gets its share of what runs and of what comes, and one that
//! drives another account gets none of it.
//!
//! The vendor finishes nothing until it is told to, so nothing here depends on how fast anybody is.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use longtake_testing::sim::Faults;

use crate::fleet::installation::Installation;
use crate::fleet::node::Node;
use crate::fleet::vendor::Class;
use crate::fleet::{ADMIN_KEY, audit, until};

/// Videos that run before the second worker joins, and those that come after.
const BEFORE: usize = 80;
const AFTER: usize = 40;
/// Creates at once.
const AT_ONCE: usize = 16;
const MAX_IN_FLIGHT: u32 = 1_000;
/// Longest wait for each step; the whole takes a fraction of it on an idle machine.
const BOUND: Duration = Duration::from_secs(60);
/// Nobody is to be taken for dead because this machine is busy.
const ENVIRONMENT: [(&str, &str); 1] = [("LONGTAKE_WORKER__TTL_SECS", "30")];

/// What one of two workers may own of so many: its share, and the batch that is no reason to pass work around.
const fn most(jobs: usize) -> usize {
    let share = jobs / 2;
    share + share / 4 + 16
}

async fn create(installation: &Installation, prefix: &str, videos: usize) {
    let one = |n| async move {
        let key = format!("{prefix}-{n}");
        installation.client.create(&key, &key).await.unwrap()
    };
    let ids: Vec<String> = futures::stream::iter((0..videos).map(one)).buffer_unordered(AT_ONCE).collect().await;
    assert_eq!(ids.len(), videos);
}

/// How many running jobs each living worker owns, by its process number.
async fn owned(installation: &Installation) -> BTreeMap<u32, usize> {
    let sql = "select e.pid, (select count(*) from work w join job j on j.id = w.job where w.owner = e.id and \
               w.kind = 0 and j.state = 30) from executor e where e.dead_at is null";
    let rows = installation.db.rows(sql).await.unwrap();
    let number = |cell: &Option<String>| cell.as_deref()?.parse::<usize>().ok();
    rows.iter().filter_map(|row| Some((u32::try_from(number(&row[0])?).ok()?, number(&row[1])?))).collect()
}

/// Waits until these workers own all of so many running jobs, each at most so many; nobody else ever owns any.
async fn run_on(installation: &Installation, workers: &[u32], jobs: usize, most: usize) -> BTreeMap<u32, usize> {
    let mut now = BTreeMap::new();
    let what = format!("{jobs} jobs run on {} workers, each owns {most} at most", workers.len());
    let spread = until!(&what, BOUND, {
        now = owned(installation).await;
        let strangers = now.iter().filter(|(pid, rows)| !workers.contains(pid) && **rows > 0).count();
        assert_eq!(strangers, 0, "{what}: {now:?}, workers {workers:?}");
        now.values().sum::<usize>() == jobs && now.values().all(|rows| *rows <= most)
    })
    .await;
    println!("{jobs} jobs: {now:?}");
    assert!(spread.is_ok(), "{spread:?}: {now:?}");
    now
}

/// A counter of a node.
async fn counter(node: &Node, name: &str) -> u64 {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.get(format!("{}/metrics", node.url())).bearer_auth(ADMIN_KEY);
    let text = request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_whitespace().last()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Starts one more worker and waits until its first beat told what it drives.
async fn join(installation: &Installation, name: &str, config: &str) -> Node {
    let mut node = Node::new(&installation.dir, name, "worker", config);
    node.start(&ENVIRONMENT).await.unwrap();
    let pid = node.pid().unwrap();
    let beaten = format!("select count(*) from executor where pid = {pid} and cardinality(accounts) > 0");
    until!(&format!("{name} beats"), BOUND, installation.db.number(&beaten).await == Ok(1)).await.unwrap();
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_joins_gets_its_share_of_what_runs_and_comes_and_one_of_another_account_nothing() {
    let mut installation = Installation::start_with("spreading", 1, 1, MAX_IN_FLIGHT, 0.0, &ENVIRONMENT).await.unwrap();
    // It takes back what it says each time: nothing is ever done.
    let never_done = Faults { status_backwards: 1.0, ..Faults::default() };
    installation.vendor.set_faults(&never_done).await.unwrap();
    create(&installation, "before", BEFORE).await;
    let url = installation.db.url_through(installation.db.address());
    let first = *owned(&installation).await.keys().next().expect("the one worker");
    run_on(&installation, &[first], BEFORE, BEFORE).await;

    let second_account = Class::Lookup.config(installation.vendor.url(), 400, "").replace("s.sim]", "s.other]");
    let second_account = second_account.replace("account = \"sim\"", "account = \"other\"");
    let settings = installation.settings.config(&url);
    let theirs = settings.replace("[worker]\n", "[worker]\naccounts = [\"other\"]\n") + &second_account;
    let other = join(&installation, "other", &theirs).await;
    let late = join(&installation, "late", &settings).await;
    let (late_pid, other_pid) = (late.pid().unwrap(), other.pid().unwrap());

    run_on(&installation, &[first, late_pid], BEFORE, most(BEFORE)).await;
    let polled = counter(&late, "longtake_polls_total").await;
    until!("the late one polls", BOUND, counter(&late, "longtake_polls_total").await > polled).await.unwrap();
    create(&installation, "after", AFTER).await;
    let now = run_on(&installation, &[first, late_pid], BEFORE + AFTER, most(BEFORE + AFTER)).await;
    assert_eq!(now.get(&other_pid), Some(&0), "it lives, and has nothing: {now:?}");

    installation.vendor.set_faults(&Faults::default()).await.unwrap();
    audit::rest(&installation.db, false, true, BOUND).await.unwrap();
    let ledger = installation.vendor.ledger();
    assert_eq!((ledger.accepted(), ledger.by_prompt().len()), (BEFORE + AFTER, BEFORE + AFTER), "one purchase each");
    let odd = "select job, count(*), max(state) from attempt group by job having count(*) <> 1 or max(state) <> 8";
    let doubts = "select job, ver, type from event where type in (3, 4)";
    for sql in [odd, doubts] {
        let rows = installation.db.rows(sql).await.unwrap();
        assert!(rows.is_empty(), "{sql}: {rows:?}");
    }
    let completed = installation.db.number("select count(*) from job where state = 90").await;
    assert_eq!(completed, Ok(i64::try_from(BEFORE + AFTER).unwrap()));
    for name in ["longtake_submits_total", "longtake_polls_total", "longtake_artifacts_stored_total"] {
        assert_eq!(counter(&other, name).await, 0, "{name} of the one with another account");
    }
    assert!(installation.is_whole());
    let dir = installation.dir.clone();
    drop((installation, late, other));
    let _gone = std::fs::remove_dir_all(dir);
}
