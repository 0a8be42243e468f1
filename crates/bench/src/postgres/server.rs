//! A PostgreSQL server for one case, on the measured disk, and statements of the measurement itself.

use std::path::Path;
use std::time::Duration;

use longtake_testing::postgres::{PostgresCluster, PostgresOptions};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::machine::{self, Place};
use crate::{Bench, Outcome};

/// What docs/operations.md recommends; everything else is PostgreSQL's default, durability above all.
const SETTINGS: [(&str, &str); 3] = [("shared_buffers", "1GB"), ("max_wal_size", "8GB"), ("wal_compression", "on")];
const MAX_CONNECTIONS: u32 = 200;

/// A running server; ends and takes its files with it when dropped.
pub struct Server {
    cluster: PostgresCluster,
    /// Process id of the server.
    pub postmaster: u32,
}

impl Server {
    /// Starts one with nothing in it.
    pub fn start(bench: &Bench) -> Outcome<Self> {
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let folder = Some(bench.folder.clone());
        let options = PostgresOptions { folder, settings, max_connections: MAX_CONNECTIONS, ..Default::default() };
        let cluster = PostgresCluster::start_with(options);
        let postmaster = postmaster(&cluster.folder().join("data/postmaster.pid"))?;
        Ok(Self { cluster, postmaster })
    }

    /// A new, empty database; its URL.
    pub fn database(&self, name: &str) -> String {
        self.cluster.create_database(name)
    }
}

fn postmaster(file: &Path) -> Outcome<u32> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let number = text.lines().next().and_then(|line| line.trim().parse().ok());
    number.ok_or_else(|| format!("{} names no process", file.display()))
}

/// A connection of the measurement's own.
pub struct Sql {
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Sql {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Sql {
    pub async fn connect(url: &str) -> Outcome<Self> {
        let (client, connection) =
            tokio_postgres::connect(url, NoTls).await.map_err(|error| format!("{url}: {error}"))?;
        // What breaks the connection is also the error of the statement that was under way.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { client, driver })
    }

    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Runs statements to their end, however long that is.
    pub async fn run(&self, sql: &str) -> Outcome {
        self.client.batch_execute(sql).await.map_err(|error| failed(sql, &error))
    }

    /// The numbers of the first row.
    pub async fn numbers(&self, sql: &str) -> Outcome<Vec<i64>> {
        let messages = self.client.simple_query(sql).await.map_err(|error| failed(sql, &error))?;
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.ok_or_else(|| format!("no row: {sql}"))?;
        let values = (0..row.len()).map(|place| row.get(place).unwrap_or("0").parse::<f64>());
        let values = values.collect::<Result<Vec<_>, _>>().map_err(|error| format!("{sql}: {error}"))?;
        Ok(values.into_iter().map(|value| value as i64).collect())
    }

    /// The first of them.
    pub async fn number(&self, sql: &str) -> Outcome<i64> {
        self.numbers(sql).await?.first().copied().ok_or_else(|| format!("no number: {sql}"))
    }

    /// Asks until the number is as wanted.
    pub async fn until(&self, sql: &str, wanted: impl Fn(i64) -> bool, bound: Duration) -> Outcome<Duration> {
        let started = std::time::Instant::now();
        loop {
            let number = self.number(sql).await?;
            if wanted(number) {
                return Ok(started.elapsed());
            }
            if started.elapsed() > bound {
                return Err(format!("still {number} after {bound:?}: {sql}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Between two questions.
const LOOK: Duration = Duration::from_millis(100);

/// With what the server said, which the error's own text leaves out.
pub fn failed(sql: &str, error: &tokio_postgres::Error) -> String {
    let told = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
    format!("{told}: {}", sql.chars().take(200).collect::<String>())
}

/// Mean time of a sync of a page on this disk, in milliseconds: the least that a durable commit costs.
pub fn sync_ms(bench: &Bench) -> Outcome<f64> {
    Ok(machine::sync_times(bench, Place::Rewrite)?.mean())
}
