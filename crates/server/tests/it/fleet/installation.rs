//! Many nodes: each with its own ways to the database and to the provider, and what is wrong with it now.

use std::sync::Arc;
use std::time::Duration;

use longtake_testing::postgres::{PostgresCluster, PostgresOptions};
use longtake_testing::proxy::{Behaviour, Proxy};
use longtake_testing::sim::Faults;
use tokio::time::Instant;

use super::artifacts::Artifacts;
use super::client::Client;
use super::db::Db;
use super::node::Node;
use super::vendor::{Class, SimVendor};
use super::{Settings, folder, until};
use crate::chaos::plan::{Action, Kind, TTL_SECS};

/// A packet that is delayed so long has vanished.
const VANISHED_MS: u64 = 3_600_000;
/// Connections of each node.
const POOL_SIZE: u32 = 8;

/// What is wrong with a node, and until when.
enum Wrong {
    Down(Instant),
    Frozen(Instant),
    NoDatabase(Instant),
    NoProvider(Instant),
}

/// A node and its ways.
struct Place {
    node: Node,
    database: Proxy,
    provider: Proxy,
    wrong: Option<Wrong>,
}

/// What a victim owned when it was hit.
#[derive(Debug)]
pub struct Owned {
    /// By the database's clock.
    pub at_us: i64,
    /// Jobs with the number of their last event.
    pub jobs: Vec<(String, i64)>,
}

pub struct Installation {
    pub db: Arc<Db>,
    pub vendor: SimVendor,
    pub client: Client,
    pub settings: Settings,
    workers: Vec<Place>,
    api: Vec<Place>,
    /// For each kill or freeze of a worker.
    pub owned: Vec<Owned>,
    pub dir: std::path::PathBuf,
}

/// Variables of a process.
pub type Environment<'a> = &'a [(&'a str, &'a str)];

impl Installation {
    /// Starts everything; `lies` is the share of the vendor's answers that are lost or an error, half of each.
    pub async fn start(name: &str, workers: usize, api: usize, max_in_flight: u32, lies: f64) -> Result<Self, String> {
        Self::start_with(name, workers, api, max_in_flight, lies, &[]).await
    }

    /// The same, with variables for every process.
    pub async fn start_with(
        name: &str,
        workers: usize,
        api: usize,
        max_in_flight: u32,
        lies: f64,
        environment: Environment<'_>,
    ) -> Result<Self, String> {
        let dir = folder(name);
        let artifacts = dir.join("artifacts");
        std::fs::create_dir_all(&artifacts).map_err(|error| error.to_string())?;
        let artifacts = Artifacts::Folder(artifacts);
        let options = PostgresOptions { max_connections: 200, ..PostgresOptions::default() };
        let db = Db::own(PostgresCluster::start_with(options));
        let faults = Faults {
            drop_after_accept: lies / 2.0,
            error_after_accept: lies / 2.0,
            poll_error: lies,
            ..Faults::default()
        };
        let vendor = SimVendor::start(&dir, Class::Lookup.options(900, faults));
        let limit = format!("max_in_flight = {max_in_flight}");
        let settings = |url: &str| Settings {
            vendor: Class::Lookup.config(url, 400, &limit),
            pool_size: POOL_SIZE,
            artifacts: artifacts.clone(),
            ttl_secs: TTL_SECS,
            public_url: None,
        };
        let place = |name: String, role| {
            let (database, provider) = (Proxy::start(db.address()), Proxy::start(vendor.address()));
            let config = settings(&provider.url()).config(&db.url_through(database.address()));
            Place { node: Node::new(&dir, &name, role, &config), database, provider, wrong: None }
        };
        let mut installation = Self {
            workers: (0..workers).map(|n| place(format!("worker-{n}"), "worker")).collect(),
            api: (0..api).map(|n| place(format!("api-{n}"), "api")).collect(),
            settings: settings(vendor.url()),
            client: Client::new(Vec::new()),
            owned: Vec::new(),
            dir,
            db,
            vendor,
        };
        for place in installation.api.iter_mut().chain(&mut installation.workers) {
            place.node.start(environment).await?;
        }
        for place in &installation.api {
            installation.client.add(place.node.url());
        }
        Ok(installation)
    }

    /// Where the API nodes are.
    pub fn api_addresses(&self) -> Vec<std::net::SocketAddr> {
        self.api.iter().map(|place| place.node.address()).collect()
    }

    /// `kill -9` of one node, API nodes first, and its next start.
    pub async fn kill_and_restart(&mut self, number: usize) -> Result<(), String> {
        let mut places = self.api.iter_mut().chain(&mut self.workers);
        let place = places.nth(number).ok_or("there is no such node")?;
        place.node.kill();
        place.node.start(&[]).await
    }

    /// SIGTERM for one node, API nodes first, its exit code, and a new process in its place that is ready.
    pub async fn replace(&mut self, number: usize, environment: Environment<'_>) -> Result<Option<i32>, String> {
        let mut places = self.api.iter_mut().chain(&mut self.workers);
        let place = places.nth(number).ok_or("there is no such node")?;
        let code = place.node.end().await?;
        place.node.start(environment).await?;
        let ready = format!("{}/readyz", place.node.url());
        let http = reqwest::Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
        let what = format!("{} is ready", place.node.name);
        until!(&what, READY_BOUND, http.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200)).await?;
        Ok(code)
    }

    /// Does one thing; false where its target is already in trouble.
    pub async fn act(&mut self, action: &Action) -> Result<bool, String> {
        let until = Instant::now() + action.lasts;
        match action.kind {
            Kind::Backends => {
                self.db.terminate_backends().await?;
                return Ok(true);
            }
            Kind::Database => {
                self.db.on_server(|server| (server.kill9(), server.restart())).await;
                return Ok(true);
            }
            _ => {}
        }
        let places = if action.kind.is_of_api() { &self.api } else { &self.workers };
        let place = &places[action.target];
        if place.wrong.is_some() {
            return Ok(false);
        }
        if matches!(action.kind, Kind::KillWorker | Kind::FreezeWorker | Kind::TerminateWorker) {
            let owned = self.owned_by(place.node.pid().unwrap_or(0)).await?;
            self.owned.push(owned);
        }
        let places = if action.kind.is_of_api() { &mut self.api } else { &mut self.workers };
        places[action.target].strike(action.kind, until).await?;
        Ok(true)
    }

    async fn owned_by(&self, pid: u32) -> Result<Owned, String> {
        let sql = format!(
            "select now_us(), j.id, j.ver from executor e left join work w on w.owner = e.id and w.kind = 0 \
             left join job j on j.id = w.job where e.pid = {pid} and e.dead_at is null"
        );
        let rows = self.db.rows(&sql).await?;
        let number = |cell: &Option<String>| cell.as_deref().and_then(|text| text.parse().ok());
        let at_us = rows.first().and_then(|row| number(&row[0])).unwrap_or(i64::MAX);
        let jobs = rows.iter().filter_map(|row| Some((row[1].clone()?, number(&row[2])?))).collect();
        Ok(Owned { at_us, jobs })
    }

    /// Lets what is over be over.
    pub async fn heal(&mut self, everything: bool) -> Result<(), String> {
        let now = Instant::now();
        for place in self.api.iter_mut().chain(&mut self.workers) {
            place.heal(now, everything).await?;
        }
        Ok(())
    }

    /// Every node runs and nothing is in its way.
    pub fn is_whole(&mut self) -> bool {
        self.api.iter_mut().chain(&mut self.workers).all(|place| place.wrong.is_none() && place.node.runs())
    }

    /// How often processes were started.
    pub fn starts(&self) -> u32 {
        self.api.iter().chain(&self.workers).map(|place| place.node.starts).sum()
    }
}

impl Place {
    async fn strike(&mut self, kind: Kind, until: Instant) -> Result<(), String> {
        let vanished = || Behaviour { delay_ms: VANISHED_MS, black_hole: true, ..Behaviour::default() };
        self.wrong = match kind {
            Kind::KillWorker | Kind::KillApi => {
                self.node.kill();
                Some(Wrong::Down(until))
            }
            Kind::TerminateWorker | Kind::TerminateApi => {
                self.node.terminate();
                Some(Wrong::Down(until))
            }
            Kind::FreezeWorker | Kind::FreezeApi => {
                self.node.freeze().await?;
                Some(Wrong::Frozen(until))
            }
            Kind::PartitionDatabase => {
                self.database.set(vanished());
                Some(Wrong::NoDatabase(until))
            }
            Kind::PartitionProvider => {
                self.provider.set(vanished());
                Some(Wrong::NoProvider(until))
            }
            Kind::Cut => {
                self.database.cut_all();
                None
            }
            Kind::Backends | Kind::Database => None,
        };
        Ok(())
    }

    async fn heal(&mut self, now: Instant, at_once: bool) -> Result<(), String> {
        match self.wrong {
            Some(Wrong::Down(until)) if at_once || now >= until => {
                // One that was told to end is waited for; it has its own bound for that.
                if self.node.runs() && !at_once {
                    return Ok(());
                }
                self.node.ended().await?;
                // Where the database is away it gives up, and is started again at the next look.
                if self.node.start(&[]).await.is_ok() {
                    self.wrong = None;
                }
            }
            Some(Wrong::Frozen(until)) if at_once || now >= until => {
                self.node.thaw();
                self.wrong = None;
            }
            Some(Wrong::NoDatabase(until)) if at_once || now >= until => {
                self.database.set(Behaviour::default());
                self.database.cut_all();
                self.wrong = None;
            }
            Some(Wrong::NoProvider(until)) if at_once || now >= until => {
                self.provider.set(Behaviour::default());
                self.provider.cut_all();
                self.wrong = None;
            }
            // It must not end by itself; where it did, that is a finding of its own.
            None if !self.node.runs() => {
                return Err(format!("{} ended by itself: {}", self.node.name, self.node.last_words()));
            }
            _ => {}
        }
        Ok(())
    }
}

/// How long a new process may take until it is ready.
const READY_BOUND: Duration = Duration::from_secs(30);

/// How long healing everything may take.
pub const HEAL_BOUND: Duration = Duration::from_secs(90);
