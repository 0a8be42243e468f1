//! F5: the primary is gone with its newest commits, and an asynchronous standby that never got them takes over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longtake_testing::postgres::PostgresCluster;

use super::stage::Stage;
use crate::fleet::until;

const BOUND: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// From here on the standby hears nothing any more; what was acknowledged so far it has.
pub async fn cut_off(stage: &Stage) -> Result<(), String> {
    let standby = stage.standby.lock().unwrap().take().ok_or("there is no standby")?;
    let rows = stage.db.rows("select pg_current_wal_flush_lsn()").await?;
    let reached = rows[0][0].clone().unwrap_or_default();
    let standby = tokio::task::spawn_blocking(move || {
        holds(&standby, &format!("select pg_last_wal_replay_lsn() >= '{reached}'::pg_lsn"))?;
        let _no_rows = standby.query("postgres", "alter system set primary_conninfo = ''");
        let _true = standby.query("postgres", "select pg_reload_conf()");
        holds(&standby, "select not exists (select 1 from pg_stat_wal_receiver where status = 'streaming')")?;
        Ok::<_, String>(standby)
    });
    let standby = standby.await.map_err(|error| error.to_string())??;
    *stage.standby.lock().unwrap() = Some(standby);
    Ok(())
}

/// Waits until a question is answered with yes.
fn holds(server: &PostgresCluster, sql: &str) -> Result<(), String> {
    for _ in 0..BOUND.as_millis() / LOOK.as_millis() {
        if server.query("postgres", sql) == [[Some("t".to_owned())]] {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    Err(format!("not within {BOUND:?}: {sql}"))
}

/// Loses what was committed since the standby was cut off, and goes on with the standby.
pub async fn strike(stage: &Stage) -> Result<(), String> {
    let standby = stage.standby.lock().unwrap().take().ok_or("there is no standby")?;
    let address = SocketAddr::from(([127, 0, 0, 1], standby.port()));
    stage.db.on_server(|cluster| cluster.kill9()).await;
    let db = Arc::clone(&stage.db);
    let swapped = tokio::task::spawn_blocking(move || {
        standby.promote();
        db.replace(standby);
    });
    swapped.await.map_err(|error| error.to_string())?;
    for proxy in [&stage.victim_db, &stage.others_db] {
        proxy.set_target(address);
        proxy.cut_all();
    }
    stage.observer.forget();
    until!("the new primary answers", BOUND, stage.db.number("select 1").await == Ok(1)).await
}
