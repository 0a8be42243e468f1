//! Migrations with many processes at once, and with older programs on newer schemas.

use longtake_testing::postgres::TestDatabase;

use super::*;

fn one() -> Migration {
    Migration { number: 1, name: "one", sql: "create table t (a int); select pg_sleep(0.05)", oldest: 1 }
}

fn two(oldest: i64) -> Migration {
    Migration { number: 2, name: "two", sql: "alter table t add b int", oldest }
}

fn target(database: &TestDatabase) -> Target {
    Target::parse(&database.url()).unwrap()
}

fn count(database: &TestDatabase, from: &str) -> String {
    database.query(&format!("select count(*) from {from}"))[0][0].clone().unwrap()
}

#[tokio::test]
async fn many_that_start_at_once_migrate_once() {
    let database = TestDatabase::create();
    let target = target(&database);
    let list = [one(), two(1)];
    let starts = (0..8).map(|_| migrate(&target, &list));
    let done: usize = futures::future::try_join_all(starts).await.unwrap().into_iter().sum();
    assert_eq!(done, 2);
    assert_eq!(migrate(&target, &list).await.unwrap(), 0);
    assert_eq!(count(&database, "schema_migration"), "2");
}

#[tokio::test]
async fn an_older_program_runs_on_a_newer_schema_unless_that_forbids_it() {
    let database = TestDatabase::create();
    let target = target(&database);
    migrate(&target, &[one(), two(1)]).await.unwrap();
    assert_eq!(migrate(&target, &[one()]).await.unwrap(), 0);
    let three = Migration { number: 3, name: "three", sql: "alter table t drop a", oldest: 2 };
    migrate(&target, &[one(), two(1), three]).await.unwrap();
    assert_eq!(migrate(&target, &[one(), two(1)]).await.unwrap(), 0);
    let refused = migrate(&target, &[one()]).await;
    assert!(matches!(refused, Err(OpenError::NewerSchema { found: 3, known: 1 })), "{refused:?}");
}

#[tokio::test]
async fn a_changed_migration_is_refused() {
    let database = TestDatabase::create();
    let target = target(&database);
    migrate(&target, &[one()]).await.unwrap();
    let changed = Migration { sql: "create table u (a int)", ..one() };
    let refused = migrate(&target, &[changed]).await;
    assert!(matches!(refused, Err(OpenError::ChangedMigration { number: 1 })), "{refused:?}");
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    let database = TestDatabase::create();
    let target = target(&database);
    let broken = Migration { sql: "create table t (a int); create table t (a int)", ..one() };
    let refused = migrate(&target, &[broken]).await.unwrap_err().to_string();
    assert!(refused.contains("already exists"), "{refused}");
    assert_eq!(count(&database, "pg_tables where tablename = 't'"), "0");
    assert_eq!(migrate(&target, &[one()]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_lock_that_others_hold_is_tried_for_again() {
    let database = TestDatabase::create();
    let target = target(&database);
    migrate(&target, &[one()]).await.unwrap();
    let (other, _task) = target.dial().await.unwrap();
    other.batch_execute("begin; lock table t in access share mode").await.unwrap();
    let list = [one(), two(1)];
    let mut migrating = Box::pin(migrate(&target, &list));
    // Longer than the lock is waited for at once: at least one try has failed.
    let early = tokio::time::timeout(Duration::from_millis(2_300), &mut migrating).await;
    assert!(early.is_err(), "{early:?}");
    other.batch_execute("commit").await.unwrap();
    assert_eq!(migrating.await.unwrap(), 1);
}

#[tokio::test]
async fn what_takes_long_is_done_once_and_after_an_interruption_again() {
    let database = TestDatabase::create();
    let target = target(&database);
    migrate(&target, &[one()]).await.unwrap();
    let undo = "drop index concurrently if exists t_a";
    let index = Later { number: 1, name: "t_a", undo, sql: "create index concurrently t_a on t (a)" };
    // What an interrupted run leaves: an index of that name which nobody noted as finished.
    let _no_rows = database.query("create index t_a on t (a)");
    let list = [index];
    let done = futures::future::try_join_all((0..4).map(|_| later(&target, &list))).await.unwrap();
    assert_eq!(done.iter().sum::<usize>(), 1);
    assert_eq!(later(&target, &list).await.unwrap(), 0);
    assert_eq!(count(&database, "pg_index where indexrelid = 't_a'::regclass and indisvalid"), "1");
    assert_eq!(count(&database, "schema_later"), "1");
}

#[test]
fn the_list_is_in_order_and_says_what_can_be() {
    for (place, migration) in MIGRATIONS.iter().enumerate() {
        assert_eq!(usize::try_from(migration.number).unwrap(), place + 1, "{}", migration.name);
        assert!((1..=migration.number).contains(&migration.oldest), "{}", migration.name);
    }
    for (place, item) in LATER.iter().enumerate() {
        assert_eq!(usize::try_from(item.number).unwrap(), place + 1, "{}", item.name);
    }
}
