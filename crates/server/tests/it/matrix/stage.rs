//! One cell's installation: a victim, the others, the vendor, the database, and proxies between them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longtake_testing::postgres::{PostgresCluster, PostgresOptions};
use longtake_testing::proxy::Proxy;
use longtake_testing::s3::TestS3;
use serde_json::json;
use tokio::task::JoinSet;

use super::cell::Cell;
use super::faults::Fault;
use crate::fleet::artifacts::Artifacts;
use crate::fleet::audit::{Acknowledged, Observer};
use crate::fleet::client::Client;
use crate::fleet::db::Db;
use crate::fleet::feed::FeedReader;
use crate::fleet::hook::Hook;
use crate::fleet::node::Node;
use crate::fleet::vendor::{Class, SimVendor};
use crate::fleet::{Settings, folder, until};

/// Silence after which others take over, in seconds: short, so that recovery is.
const TTL_SECS: u32 = 4;
/// Videos of a cell, and of one that exhausts the pools.
const VIDEOS: usize = 3;
const MANY_VIDEOS: usize = 24;
/// An hour: how wrong a wall clock may be.
const CLOCK_OFFSET: &str = "3600";
/// Longest time until all videos are in a state.
const STATE_BOUND: Duration = Duration::from_secs(45);

pub struct Stage {
    pub cell: Cell,
    pub dir: PathBuf,
    pub db: Arc<Db>,
    /// A standby, for a cell that fails over.
    pub standby: Mutex<Option<PostgresCluster>>,
    pub vendor: SimVendor,
    pub victim_db: Proxy,
    pub others_db: Proxy,
    pub victim_provider: Proxy,
    /// Its way to the videos, where they lie in a bucket.
    pub victim_bucket: Option<Proxy>,
    /// The way of the vendor's calls to the node that takes them in.
    callbacks: Proxy,
    /// Takes the creates, and is not hit.
    _api: Node,
    /// A worker, or the API node that is hit.
    pub victim: Node,
    /// A worker that dies before the victim is hit, where the point needs that.
    pub first: Node,
    /// The worker that goes on.
    pub other: Node,
    pub client: Client,
    /// Is told of every event.
    pub hook: Hook,
    pub feed: FeedReader,
    pub observer: Observer,
    pub settings: Settings,
    rules_off: String,
    creating: JoinSet<(String, Result<String, String>)>,
    pub acknowledged: Acknowledged,
}

impl Stage {
    /// Starts everything but those who drive.
    pub async fn start(cell: Cell, rules_off: &str) -> Result<Self, String> {
        let dir = folder(&format!("cell-{}{}", cell.name(), if rules_off.is_empty() { "" } else { rules_off }));
        let (folder, orders) = (dir.join("artifacts"), dir.join("orders"));
        std::fs::create_dir_all(&folder).and_then(|()| std::fs::create_dir_all(&orders)).unwrap();
        let s3 = cell.bucket.then(|| Arc::new(TestS3::start()));
        let victim_bucket = s3.as_ref().map(|s3| Proxy::start(s3.address()));
        let artifacts = s3.map_or(Artifacts::Folder(folder), |s3| Artifacts::Bucket(Arc::clone(&s3), s3.address()));
        let (db, standby) = database(cell.fault);
        let mut faults = cell.fault.of_vendor();
        cell.point.prepare(&mut faults);
        let mut options = cell.class.options(cell.point.duration_ms(), faults);
        if cell.bucket {
            options.result_bytes = super::bucket::VIDEO_BYTES;
        }
        let vendor = SimVendor::start(&dir, options);
        let (victim_db, others_db) = (Proxy::start(db.address()), Proxy::start(db.address()));
        let victim_provider = Proxy::start(vendor.address());
        // Nobody takes callbacks in before the first node serves.
        let (calls_back, callbacks) = (cell.class == Class::Callback, Proxy::start(vendor.address()));
        let pool_size = if cell.fault == Fault::F4Pool { 2 } else { 6 };
        let lines = cell.fault.account_lines();
        let settings = |url: &str| Settings {
            vendor: cell.class.config(url, cell.fault.settle_ms(), lines),
            pool_size,
            artifacts: artifacts.clone(),
            ttl_secs: TTL_SECS,
            public_url: calls_back.then(|| callbacks.url()),
        };
        let others = settings(vendor.url()).config(&db.url_through(others_db.address()));
        let mut victims = settings(&victim_provider.url());
        if let Some(proxy) = &victim_bucket {
            victims.artifacts = artifacts.through(proxy.address());
        }
        let victims = victims.config(&db.url_through(victim_db.address()));
        let role = if cell.point.is_of_api() { "api" } else { "worker" };
        let victim = Node::new(&dir, "victim", role, &victims);
        let other = Node::new(&dir, "other", "worker", if cell.fault == Fault::F14 { &victims } else { &others });
        let other = if cell.fault == Fault::F14 { other.with_data_of(&victim) } else { other };
        let mut api = Node::new(&dir, "api", "api", &others);
        api.start(&[("LONGTAKE_ABLATION", rules_off)]).await?;
        callbacks.set_target(api.address());
        let client = Client::new(vec![api.url()]);
        let hook = Hook::start(cell.fault.of_receiver()).await;
        hook.subscribe(&client).await?;
        let feed = FeedReader::start(&client).await;
        let observer = Observer::start(&db);
        Ok(Self {
            first: Node::new(&dir, "first", "worker", &others),
            settings: settings(vendor.url()),
            rules_off: rules_off.to_owned(),
            standby: Mutex::new(standby),
            creating: JoinSet::new(),
            acknowledged: Acknowledged::default(),
            cell,
            dir,
            db,
            vendor,
            victim_db,
            others_db,
            victim_provider,
            victim_bucket,
            callbacks,
            _api: api,
            victim,
            other,
            client,
            hook,
            feed,
            observer,
        })
    }

    fn environment<'a>(&'a self, orders: &'a str, offset: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut all = vec![("LONGTAKE_FAILPOINT_FAULTS", orders), ("LONGTAKE_ABLATION", self.rules_off.as_str())];
        if self.cell.fault == Fault::F8 {
            all.push(("LONGTAKE_TEST_CLOCK_OFFSET", offset));
        }
        all
    }

    /// The one that is hit.
    pub async fn start_victim(&mut self, more: &[(&str, &str)]) -> Result<(), String> {
        let orders = self.dir.join("orders").display().to_string();
        let mut environment = self.environment(&orders, CLOCK_OFFSET);
        environment.extend(more);
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.victim.start(&environment).await
    }

    /// The one that dies first.
    pub async fn start_first(&mut self) -> Result<(), String> {
        self.first.start(&[]).await
    }

    /// The one that goes on; started once.
    pub async fn start_others(&mut self) -> Result<(), String> {
        if self.other.runs() {
            return Ok(());
        }
        let orders = self.dir.join("orders").display().to_string();
        let offset = format!("-{CLOCK_OFFSET}");
        let environment: Vec<(String, String)> = (self.environment(&orders, &offset).into_iter())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.other.start(&environment).await
    }

    /// Begins to create the videos of the cell, all at once, and only once.
    pub fn create_all(&mut self) {
        if !self.creating.is_empty() || !self.acknowledged.ids.is_empty() {
            return;
        }
        let videos = if self.cell.fault == Fault::F4Pool { MANY_VIDEOS } else { VIDEOS };
        for n in 0..videos {
            let (client, key) = (self.client.clone(), format!("key-{n}"));
            let prompt = prompt(&key);
            self.creating.spawn(async move {
                let id = client.create(&key, &prompt).await;
                (key, id)
            });
        }
    }

    /// Waits until every create is acknowledged.
    pub async fn acknowledge_all(&mut self) -> Result<(), String> {
        while let Some(created) = self.creating.join_next().await {
            let (key, id) = created.map_err(|error| error.to_string())?;
            self.acknowledged.ids.insert(key, id?);
        }
        Ok(())
    }

    /// Waits until the vendor works on what it took; what it refused, or is in doubt, is not waited for.
    pub async fn until_running(&mut self) -> Result<(), String> {
        self.acknowledge_all().await?;
        let sql = "select case when count(*) filter (where state in (10, 20, 25)) = 0 \
                   then count(*) filter (where state = 30) else 0 end from job";
        until!("the vendor works", STATE_BOUND, self.db.number(sql).await.is_ok_and(|count| count > 0)).await
    }

    /// Waits until the others have given up the victim, which is silent. An API node owns nothing: there, until the
    /// others have acknowledged every create.
    pub async fn until_given_up(&mut self, bound: Duration) -> Result<(), String> {
        self.start_others().await?;
        if self.cell.point.is_of_api() {
            return self.acknowledge_all().await;
        }
        let pid = self.victim.pid().unwrap_or(0);
        let sql = format!("select count(*) from executor where pid = {pid} and dead_at is not null");
        let ended = format!("select count(*) from executor where pid = {pid}");
        until!("the victim is given up", bound, {
            // One that has drained has nothing to be given up for.
            self.db.number(&sql).await.is_ok_and(|count| count > 0) || self.db.number(&ended).await == Ok(0)
        })
        .await
    }

    /// When the victim last showed that it lives, in seconds.
    pub async fn beats(&self) -> Result<i64, String> {
        let pid = self.victim.pid().unwrap_or(0);
        self.db.number(&format!("select coalesce(max(beat_at) / 1000000, 0) from executor where pid = {pid}")).await
    }

    /// Lets something fail so many times, on every node.
    pub fn order(&self, name: &str, times: u32) {
        std::fs::write(self.dir.join("orders").join(name), times.to_string()).unwrap();
    }

    /// A transaction that has written and does not end for a while.
    pub fn pin_horizon(&self, seconds: u32) {
        let db = Arc::clone(&self.db);
        let sql = format!(
            "begin isolation level repeatable read; select pg_current_xact_id(); select pg_sleep({seconds}); commit"
        );
        tokio::spawn(async move { db.rows(&sql).await });
    }

    /// A client that changes its mind (C18).
    pub async fn cancel_first(&mut self) -> Result<(), String> {
        let sql = "select j.id from job j join attempt a on a.job = j.id where a.state = 1 order by j.id limit 1";
        let rows = self.db.rows(sql).await?;
        let job = rows.first().and_then(|row| row[0].clone()).ok_or("nothing is being submitted")?;
        let id = crate::fleet::audit::public_id(&job);
        // The frozen one may hold the job's row in a transaction, until the database ends that.
        let path = format!("/v1/videos/{id}/cancel");
        until!("the cancel is taken", STATE_BOUND, matches!(self.client.order(&path).await, Some((200, _)))).await
    }

    /// Asks once more for what was canceled (C18); that may be paid again.
    pub async fn retry_canceled(&mut self) -> Result<(), String> {
        for (key, id) in self.acknowledged.ids.clone() {
            if self.client.state(&id).await.as_deref() == Some("canceled") {
                let answer = self.client.order(&format!("/v1/videos/{id}/retry")).await;
                if !matches!(answer, Some((200, _))) {
                    return Err(format!("retry of {id}: {answer:?}"));
                }
                self.acknowledged.retried.insert(prompt(&key));
            }
        }
        Ok(())
    }

    /// Callbacks go to the victim from now on.
    pub fn call_victim_back(&self) {
        self.callbacks.set_target(self.victim.address());
        self.callbacks.cut_all();
    }

    /// Held videos that the vendor has told of, and told again until somebody took it.
    pub async fn held_although_told(&self) -> Result<Vec<String>, String> {
        if self.cell.class != Class::Callback {
            return Ok(Vec::new());
        }
        let rows = self.db.rows("select id from job where state = 27").await?;
        let held: Vec<String> =
            rows.iter().filter_map(|row| row[0].as_deref().map(crate::fleet::audit::public_id)).collect();
        let keys = self.acknowledged.ids.iter().filter(|(_, id)| held.contains(id));
        let books = self.vendor.ledger().jobs();
        let told = keys.filter(|(key, _)| books.iter().any(|entry| entry.prompt == prompt(key)));
        Ok(told.map(|(_, id)| id.clone()).collect())
    }

    /// Does what a person does with a held video: looks into the provider's books.
    pub async fn resolve_held(&mut self) -> Result<usize, String> {
        let rows = self.db.rows("select id from job where state = 27").await?;
        let held: Vec<String> =
            rows.iter().filter_map(|row| row[0].as_deref().map(crate::fleet::audit::public_id)).collect();
        for id in &held {
            let key = self.acknowledged.ids.iter().find(|(_, other)| *other == id).map(|(key, _)| key.clone());
            let prompt = key.map(|key| prompt(&key)).unwrap_or_default();
            let books = self.vendor.ledger().jobs();
            let decision = match books.iter().find(|entry| entry.prompt == prompt) {
                Some(entry) => json!({"decision": "adopt", "provider_job_id": entry.provider_job}),
                None => json!({"decision": "resubmit"}),
            };
            let path = format!("/v1/videos/{id}/resolve");
            match self.client.post(&path, &decision).await {
                // 409: news came first.
                Some((200 | 409, _)) => {}
                answer => return Err(format!("resolve of {id}: {answer:?}")),
            }
        }
        Ok(held.len())
    }

    /// Ends all nodes; the folder stays where something was found.
    pub fn clean_up(self, keep: bool) {
        let dir = self.dir.clone();
        drop(self);
        if !keep {
            let _gone = std::fs::remove_dir_all(dir);
        }
    }
}

/// The prompt of a key.
pub fn prompt(key: &str) -> String {
    format!("a lighthouse, {key}")
}

fn database(fault: Fault) -> (Arc<Db>, Option<PostgresCluster>) {
    if !fault.needs_own_server() {
        return (Db::shared(), None);
    }
    let cluster = PostgresCluster::start_with(PostgresOptions::default());
    let standby = (fault == Fault::F5).then(|| cluster.standby("standby"));
    (Db::own(cluster), standby)
}
