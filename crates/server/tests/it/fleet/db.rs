//! The database of a run, as the test itself sees it: past all proxies, and where it is after a failover.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longtake_testing::postgres::{PostgresCluster, TestDatabase, TextRows};

/// Its name on a server of one's own.
pub const NAME: &str = "longtake";

/// One database.
pub enum Db {
    /// On the server that all tests share.
    Shared(TestDatabase),
    /// On a server that may be restarted, killed and replaced.
    Own(Mutex<PostgresCluster>),
}

impl Db {
    /// On the shared server.
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::Shared(TestDatabase::create()))
    }

    /// On a server of its own.
    pub fn own(cluster: PostgresCluster) -> Arc<Self> {
        let _url = cluster.create_database(NAME);
        Arc::new(Self::Own(Mutex::new(cluster)))
    }

    /// Where its server listens.
    pub fn address(&self) -> SocketAddr {
        let port = match self {
            Self::Own(cluster) => whole(cluster).port(),
            Self::Shared(database) => {
                let url = database.url();
                let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next());
                port.and_then(|port| port.parse().ok()).expect("its URL names a port")
            }
        };
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Its URL through a proxy, or directly.
    pub fn url_through(&self, address: SocketAddr) -> String {
        let name = match self {
            Self::Own(_) => NAME.to_owned(),
            Self::Shared(database) => database.url().rsplit('/').next().unwrap_or_default().to_owned(),
        };
        format!("postgres://postgres@{address}/{name}")
    }

    /// Rows of a statement, as text.
    pub async fn rows(self: &Arc<Self>, sql: &str) -> Result<TextRows, String> {
        let (db, sql) = (Arc::clone(self), sql.to_owned());
        let asked = tokio::task::spawn_blocking(move || match &*db {
            Self::Shared(database) => database.query(&sql),
            Self::Own(cluster) => whole(cluster).query(NAME, &sql),
        });
        asked.await.map_err(|error| format!("the database did not answer: {error}"))
    }

    /// The first column of the first row, as a number.
    pub async fn number(self: &Arc<Self>, sql: &str) -> Result<i64, String> {
        let rows = self.rows(sql).await?;
        let text = rows.first().and_then(|row| row.first().cloned().flatten());
        text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("no number: {sql}"))
    }

    /// Ends every connection to it.
    pub async fn terminate_backends(self: &Arc<Self>) -> Result<(), String> {
        let sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.rows(sql).await.map(drop)
    }

    /// Another server has the database now.
    pub fn replace(&self, server: PostgresCluster) {
        if let Self::Own(cluster) = self {
            drop(std::mem::replace(&mut *whole(cluster), server));
        }
    }

    /// Does something to a server of its own.
    pub async fn on_server<T: Send + 'static>(
        self: &Arc<Self>,
        what: impl FnOnce(&mut PostgresCluster) -> T + Send + 'static,
    ) -> T {
        let db = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || match &*db {
            Self::Shared(_) => panic!("the shared server is not this test's to change"),
            Self::Own(cluster) => what(&mut whole(cluster)),
        });
        done.await.unwrap()
    }
}

/// A statement that failed leaves the server as it was.
fn whole(cluster: &Mutex<PostgresCluster>) -> MutexGuard<'_, PostgresCluster> {
    cluster.lock().unwrap_or_else(PoisonError::into_inner)
}
