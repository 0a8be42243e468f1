//! Rule R12: notices that the database is another one than it was, so that commits may be missing.
//!
//! A promoted standby goes on under a new timeline, a restored backup too, and a dump that was read into another cluster
//! under another identifier. Every new connection compares both with what the database itself has noted; after a failover
//! every connection is new, so nothing is decided before it was looked at. Absent: what follows from it (`quarantine`).

use longtake_core::BoxError;
use tokio_postgres::Client;

use super::sql;

/// Compares, and notes what is new. `loses_nothing`: the operator's word that a failover keeps what was acknowledged.
pub(super) async fn note(client: &Client, loses_nothing: bool) -> Result<(), BoxError> {
    let row = client.query_one(sql::HISTORY_LOOK, &[]).await?;
    let (known, here): (Option<String>, String) = (row.try_get(0)?, row.try_get(1)?);
    if known.as_deref() == Some(here.as_str()) {
        return Ok(());
    }
    // One of many processes notes it; the others find it noted, with all that follows from it.
    let noted = client.query(sql::HISTORY_NOTE, &[&here, &!loses_nothing]).await?;
    match (known, noted.is_empty()) {
        (Some(known), false) if loses_nothing => {
            tracing::warn!(%known, %here, "the database was failed over; as configured, nothing acknowledged is missing");
        }
        (Some(known), false) => {
            tracing::warn!(
                %known,
                %here,
                "the database is another than it was and may lack its last commits: jobs from before are found out before they are submitted"
            );
        }
        (None, _) | (_, true) => {}
    }
    Ok(())
}
