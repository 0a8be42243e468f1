//! Every query file prepares on the schema that the migrations make.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use crate::given::{Folder, HandClock, options};

#[test]
fn every_query_file_prepares() {
    let folder = Folder::new();
    drop(longtake_store::open(&folder.url(), options(Arc::new(HandClock::new()))).unwrap());
    let connection = Connection::open(folder.path().join("longtake.db")).unwrap();
    let mut prepared = 0;
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sqlite/queries")).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("-- "), "{} says first what it does", path.display());
        connection.prepare(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        prepared += 1;
    }
    assert!(prepared >= 60, "{prepared} files");
}

/// A plan that scans a table would be right and slow.
#[test]
fn hot_queries_search_by_key() {
    let folder = Folder::new();
    drop(longtake_store::open(&folder.url(), options(Arc::new(HandClock::new()))).unwrap());
    let connection = Connection::open(folder.path().join("longtake.db")).unwrap();
    let hot = [
        "due",
        "queue_first",
        "queue_after",
        "in_flight_pool",
        "pool_get",
        "pool_name",
        "pace_get",
        "turn_get",
        "woken_any",
        "woken",
        "owned",
        "claim",
        "record",
        "attempt_get",
        "in_flight",
        "claimed",
        "wake",
        "output",
        "events_after",
        "feed_end",
        "feed_page",
        "referenced",
        "list_desc",
        "list_asc",
        "list_end_desc",
        "list_end_asc",
        "durations",
        "in_doubt",
        "expire_walk",
        "retention_get",
        "oldest_doubt",
        "attempt_accounts",
        "artifacts_delete",
        "events_delete",
        "attempts_delete",
        "exchanges_delete",
        "orphans_delete",
        "idem_delete",
        "request_delete",
        "job_delete",
        "feed_floor",
        "exchange_trim",
        "key_find",
        "idem_get",
        "endpoint_get",
        "endpoints",
        "endpoints_told",
        "origin_get",
        "origins_count",
        "delivery_due",
        "deliveries_end",
        "deliveries_exhaust",
        "delivery_get",
        "delivery_of",
        "job_told",
        "deliveries",
        "tries",
        "try_trim",
        "tries_delete",
        "deliveries_delete",
        "job_webhook_delete",
        "event_get",
        "event_seq",
        "replay_page",
    ];
    for name in hot {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/sqlite/queries/{name}.sql"));
        let text = std::fs::read_to_string(path).unwrap();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
        let nulls = vec![rusqlite::types::Null; plan.parameter_count()];
        let steps = plan.query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3)).unwrap();
        for step in steps.map(Result::unwrap) {
            let scans = step.starts_with("SCAN")
                && !["VIRTUAL TABLE", "CONSTANT ROW", "(subquery"].iter().any(|harmless| step.contains(harmless));
            assert!(!scans && !step.contains("TEMP B-TREE"), "{name}: {step}");
        }
    }
}

/// They are sorted, but only they are read.
#[test]
fn deliveries_of_a_job_are_found_by_the_job() {
    let folder = Folder::new();
    drop(longtake_store::open(&folder.url(), options(Arc::new(HandClock::new()))).unwrap());
    let connection = Connection::open(folder.path().join("longtake.db")).unwrap();
    let text = include_str!("../../src/sqlite/queries/job_deliveries.sql");
    let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
    let nulls = vec![rusqlite::types::Null; plan.parameter_count()];
    let steps = plan.query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3)).unwrap();
    let steps: Vec<String> = steps.map(Result::unwrap).collect();
    assert!(steps[0].contains("USING INDEX sqlite_autoindex_delivery_1 (job=?)"), "{steps:?}");
}
