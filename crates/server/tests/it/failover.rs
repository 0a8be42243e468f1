//! The database's primary is lost in the middle of everything, and its standby takes over (docs/operations.md, "Failover").
//!
//! Nobody helps: the processes find the new primary by the URL they were given. With a synchronous standby, and the word
//! that it is one, nothing that was acknowledged is missing and nothing is doubted. Without that word the same promotion
//! begins in quarantine (R12). Absent: commits that an asynchronous standby never got; that is fault F5 of the matrix.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longtake_testing::postgres::PostgresCluster;
use longtake_testing::sim::Faults;
use tokio::task::JoinSet;

use crate::fleet::audit::{self, Acknowledged, Audit, Observer};
use crate::fleet::client::Client;
use crate::fleet::db::{Db, NAME};
use crate::fleet::feed::{FeedReader, Seen};
use crate::fleet::node::Node;
use crate::fleet::vendor::{Class, SimVendor};
use crate::fleet::{Settings, folder, until};

/// Clients at once, and the pause of each between two videos.
const CLIENTS: usize = 6;
const PAUSE: Duration = Duration::from_millis(100);
/// Provider jobs at once and how long each takes: fewer than are asked for, so that some wait when the primary is lost.
const MAX_IN_FLIGHT: u32 = 6;
const RENDER_MS: u32 = 400;
/// Videos acknowledged before the primary is lost, and after it.
const BEFORE: usize = 40;
const AFTER: usize = 30;
/// Silence after which others take over, in seconds: longer than a failover, which is nobody's death.
const TTL_SECS: u32 = 15;
const BOUND: Duration = Duration::from_secs(60);

/// An API node, two workers, a vendor, and a primary with a synchronous standby.
struct Site {
    dir: PathBuf,
    db: Arc<Db>,
    standby: Option<PostgresCluster>,
    vendor: SimVendor,
    settings: Settings,
    nodes: Vec<Node>,
    client: Client,
    feed: FeedReader,
    observer: Observer,
}

impl Site {
    /// `failover` is what the config says that one can lose; nothing is the default.
    async fn start(name: &str, failover: Option<&str>) -> Result<Self, String> {
        let dir = folder(name);
        let artifacts = dir.join("artifacts");
        std::fs::create_dir_all(&artifacts).map_err(|error| error.to_string())?;
        let primary = PostgresCluster::start();
        let standby = primary.standby("standby");
        primary.require_standby("standby");
        // As docs/operations.md says it.
        let url = PostgresCluster::url_of_all(&[&primary, &standby], NAME) + "?target_session_attrs=read-write";
        let db = Db::own(primary);
        let vendor = SimVendor::start(&dir, Class::Lookup.options(RENDER_MS, Faults::default()));
        let limit = format!("max_in_flight = {MAX_IN_FLIGHT}");
        let settings = Settings {
            vendor: Class::Lookup.config(vendor.url(), 400, &limit),
            pool_size: 6,
            artifacts: crate::fleet::artifacts::Artifacts::Folder(artifacts),
            ttl_secs: TTL_SECS,
            public_url: None,
        };
        let config = settings.config(&url);
        let node = |(name, role)| Node::new(&dir, name, role, &config);
        let mut nodes: Vec<Node> = [("api", "api"), ("one", "worker"), ("two", "worker")].map(node).into();
        let environment: Vec<_> = failover.map(|word| ("LONGTAKE_DATABASE__FAILOVER", word)).into_iter().collect();
        for node in &mut nodes {
            node.start(&environment).await?;
        }
        let client = Client::new(vec![nodes[0].url()]);
        let (feed, observer) = (FeedReader::start(&client).await, Observer::start(&db));
        Ok(Self { dir, db, standby: Some(standby), vendor, settings, nodes, client, feed, observer })
    }

    /// The primary is gone as by a power cut, and the standby takes over. How many jobs were queued on it.
    async fn fail_over(&mut self) -> Result<i64, String> {
        let standby = self.standby.take().ok_or("it has taken over already")?;
        // Frozen first: killed one by one, the last would show to others what the standby never got.
        self.db.on_server(|primary| (primary.pause(), primary.kill9())).await;
        self.observer.forget_fences();
        let db = Arc::clone(&self.db);
        let promoted = tokio::task::spawn_blocking(move || {
            let queued = standby.query(NAME, "select count(*) from job where state = 10");
            standby.promote();
            db.replace(standby);
            queued
        });
        let queued = promoted.await.map_err(|error| error.to_string())?;
        queued[0][0].as_deref().and_then(|text| text.parse().ok()).ok_or_else(|| "no number".to_owned())
    }

    async fn number(&self, sql: &str) -> i64 {
        self.db.number(sql).await.unwrap()
    }

    /// Whether it is noted that history may be missing.
    async fn is_in_quarantine(&self) -> bool {
        self.number("select count(*) from meta where key = 'quarantine'").await == 1
    }

    /// Waits for rest, and checks everything but what the failover did to single jobs.
    async fn judge(&mut self, acknowledged: &Acknowledged, before: Seen) {
        audit::rest(&self.db, false, true, BOUND).await.unwrap();
        for node in &mut self.nodes {
            assert!(node.runs() && node.starts == 1, "{} went on by itself: {}", node.name, node.last_words());
        }
        let jobs = acknowledged.ids.len();
        assert_eq!(self.number("select count(*) from job where state = 90").await, i64::try_from(jobs).unwrap());
        assert_eq!(self.vendor.ledger().accepted(), jobs, "one purchase for each");
        assert_eq!(self.number("select count(*) from event where type = 4").await, 0, "none was held");
        // A cursor from before, on the new primary.
        let (known, resumed) = (before.events.len(), FeedReader::resume(&self.client, before));
        let mut audit = Audit {
            db: &self.db,
            ledger: self.vendor.ledger(),
            artifacts: &self.settings.artifacts,
            acknowledged,
            feed: Some(&self.feed),
            observer: &self.observer,
            finds_out: true,
        };
        let findings = audit.run().await.unwrap();
        assert!(findings.violations.is_empty(), "{:#?}", findings.violations);
        audit.feed = Some(&resumed);
        assert_eq!(audit.i7().await.unwrap(), Vec::<String>::new(), "behind a cursor from before");
        assert!(resumed.seen().events.len() > known, "there was something behind it");
    }

    /// Ends all of it; the folder stays where the test broke off.
    fn clean_up(self) {
        let dir = self.dir.clone();
        drop(self);
        let _gone = std::fs::remove_dir_all(dir);
    }
}

/// Clients who create videos until they are told to stop.
struct Clients {
    tasks: JoinSet<Result<(), String>>,
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Clients {
    fn begin(client: &Client) -> Self {
        let (stop, told) = (Arc::<AtomicBool>::default(), Arc::<Mutex<BTreeMap<_, _>>>::default());
        let mut tasks = JoinSet::new();
        for n in 0..CLIENTS {
            let (client, stop, told) = (client.clone(), Arc::clone(&stop), Arc::clone(&told));
            tasks.spawn(async move {
                let mut pause = tokio::time::interval(PAUSE);
                pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                for video in 0.. {
                    pause.tick().await;
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let key = format!("client-{n}-{video}");
                    let id = client.create(&key, &format!("a flood, {key}")).await?;
                    told.lock().unwrap().insert(key, id);
                }
                Ok(())
            });
        }
        Self { tasks, stop, told }
    }

    /// How many creates were acknowledged.
    fn acknowledged(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    async fn until(&self, count: usize) {
        until!(&format!("{count} videos are acknowledged"), BOUND, self.acknowledged() >= count).await.unwrap();
    }

    /// Lets each of them finish its last create.
    async fn end(mut self) -> Acknowledged {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
        let ids = self.told.lock().unwrap().clone();
        Acknowledged { ids, ..Acknowledged::default() }
    }
}

/// Everything up to the rest: what the clients know, and what a reader had seen before the primary was lost.
async fn through_a_failover(site: &mut Site) -> (Acknowledged, Seen) {
    let clients = Clients::begin(&site.client);
    clients.until(BEFORE).await;
    let seen = site.feed.seen();
    let queued = site.fail_over().await.unwrap();
    assert!(queued > 0, "some jobs waited when the primary was lost");
    clients.until(clients.acknowledged() + AFTER).await;
    (clients.end().await, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_synchronous_standby_nothing_acknowledged_is_lost_and_nothing_is_doubted() {
    let mut site = Site::start("failover-synchronous", Some("synchronous")).await.unwrap();
    let (acknowledged, before) = through_a_failover(&mut site).await;
    site.judge(&acknowledged, before).await;
    let timeline = site.db.rows("select value from meta where key = 'history'").await.unwrap();
    assert!(timeline[0][0].as_deref().is_some_and(|history| history.ends_with("/00000002")), "{timeline:?}");
    assert!(!site.is_in_quarantine().await);
    assert_eq!(site.number("select count(*) from attempt where executor = 0").await, 0, "none was doubted");
    site.clean_up();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_that_word_every_job_that_was_queued_is_doubted_first_and_no_other() {
    let mut site = Site::start("failover-default", None).await.unwrap();
    let (acknowledged, before) = through_a_failover(&mut site).await;
    site.judge(&acknowledged, before).await;
    assert!(site.is_in_quarantine().await);
    assert!(site.number("select count(*) from attempt where executor = 0").await > 0, "some were doubted");
    // Those whose submission nobody knew of when the history broke, and only those.
    let wrong = "select j.id, j.created_at < q.at, d.n, o.n from job j \
                 cross join (select value::bigint as at from meta where key = 'quarantine') q \
                 left join lateral (select min(n) as n from attempt where job = j.id and executor = 0) d on true \
                 left join lateral (select min(n) as n from attempt where job = j.id and executor <> 0 \
                 and intent_at < q.at) o on true \
                 where (d.n is not null) <> (j.created_at < q.at and o.n is null)";
    assert_eq!(site.db.rows(wrong).await.unwrap(), Vec::<Vec<Option<String>>>::new());
    site.clean_up();
}
