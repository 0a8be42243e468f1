//! What a server is and how it is set, for people who run one.

use longtake_core::time::Timestamp;

use super::connect::Target;
use super::sql;
use crate::OpenError;

/// Facts about a PostgreSQL server that decide how safe and how fast it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// As it calls itself, such as `15.6`.
    pub version: String,
    /// Its clock.
    pub now: Timestamp,
    /// `max_connections`, without those kept for the superuser.
    pub max_connections: i64,
    /// Connections in use, ours included.
    pub connections: i64,
    /// `synchronous_standby_names`; empty where a failover may lose acknowledged commits.
    pub synchronous_standbys: String,
    /// Standbys that are connected, and those of them that confirm commits. 0 where we may not see them.
    pub standbys: (i64, i64),
    /// Age of the oldest transaction that holds back vacuum, in seconds.
    pub oldest_transaction_secs: i64,
}

/// Asks a server.
///
/// # Errors
/// As connecting; and where it does not answer.
pub async fn inspect(url: &str) -> Result<ServerFacts, OpenError> {
    let (client, _task) = Target::parse(url)?.dial().await?;
    let failed = |error: tokio_postgres::Error| OpenError::Postgres(error.to_string());
    let row = client.query_one(sql::INSPECT, &[]).await.map_err(failed)?;
    Ok(ServerFacts {
        version: row.try_get(0).map_err(failed)?,
        now: Timestamp::from_micros(row.try_get(1).map_err(failed)?),
        max_connections: row.try_get(2).map_err(failed)?,
        connections: row.try_get(3).map_err(failed)?,
        synchronous_standbys: row.try_get(4).map_err(failed)?,
        standbys: (row.try_get(5).map_err(failed)?, row.try_get(6).map_err(failed)?),
        oldest_transaction_secs: row.try_get(7).map_err(failed)?,
    })
}
