//! Throwaway PostgreSQL servers: they keep what was committed, and end with whoever started them.

use std::path::Path;
use std::process::Command;

use longtake_testing::postgres::{PostgresCluster, PostgresOptions, Stop, TestDatabase};

const MADE: &str = "CREATE TABLE kept (word text); INSERT INTO kept VALUES ('before')";

fn words(cluster: &PostgresCluster) -> Vec<String> {
    let rows = cluster.query("postgres", "SELECT word FROM kept ORDER BY word");
    rows.into_iter().flatten().flatten().collect()
}

fn value(rows: Vec<Vec<Option<String>>>) -> String {
    rows[0][0].clone().unwrap()
}

#[test]
fn a_cluster_starts_with_its_settings_and_leaves_nothing() {
    let settings = vec![("work_mem".to_owned(), "7MB".to_owned())];
    let cluster = PostgresCluster::start_with(PostgresOptions { settings, max_connections: 17, ..Default::default() });
    for (name, wanted) in [("work_mem", "7MB"), ("max_connections", "17"), ("fsync", "on"), ("full_page_writes", "on")]
    {
        assert_eq!(value(cluster.query("postgres", &format!("SHOW {name}"))), wanted, "{name}");
    }
    let _url = cluster.create_database("second");
    assert_eq!(value(cluster.query("second", "SELECT current_database()")), "second");
    let folder = cluster.folder().to_owned();
    assert!(folder.join("data/postmaster.pid").is_file());
    drop(cluster);
    assert!(!folder.exists());
}

#[test]
fn what_was_committed_survives_every_kind_of_end() {
    let mut cluster = PostgresCluster::start();
    let url = cluster.url("postgres");
    let _no_rows = cluster.query("postgres", MADE);
    cluster.kill9();
    cluster.restart();
    assert_eq!(words(&cluster), ["before"]);
    cluster.stop(Stop::Immediate);
    cluster.restart();
    assert_eq!(words(&cluster), ["before"]);
    cluster.stop(Stop::Fast);
    cluster.restart();
    assert_eq!(words(&cluster), ["before"]);
    assert_eq!(cluster.url("postgres"), url);
    assert!(cluster.log().contains("not properly shut down"), "the kill was one:\n{}", cluster.log());
}

#[test]
fn a_standby_that_commits_waited_for_takes_over_with_every_row() {
    let mut primary = PostgresCluster::start();
    let standby = primary.standby("second");
    primary.require_standby("second");
    let _no_rows = primary.query("postgres", MADE);
    primary.kill9();
    standby.promote();
    let _no_rows = standby.query("postgres", "INSERT INTO kept VALUES ('after')");
    assert_eq!(words(&standby), ["after", "before"]);
    let url = PostgresCluster::url_of_all(&[&primary, &standby], "postgres");
    assert_eq!(url.matches("127.0.0.1").count(), 2, "{url}");
}

#[tokio::test]
async fn a_paused_cluster_answers_after_the_pause() {
    let cluster = PostgresCluster::start();
    let (client, connection) =
        tokio_postgres::connect(&cluster.socket_url("postgres"), tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    cluster.pause();
    let mut answer = std::pin::pin!(client.simple_query("SELECT 1"));
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut answer).await;
    assert!(early.is_err(), "a paused server answered");
    cluster.resume();
    answer.await.unwrap();
    assert_eq!(cluster.terminate_backends(), 1);
    assert!(driver.await.unwrap().is_err());
}

#[test]
fn each_test_has_an_empty_database_on_the_shared_server() {
    let (one, two) = (TestDatabase::create(), TestDatabase::create());
    let _no_rows = one.query("CREATE TABLE mine ()");
    assert_eq!(value(two.query("SELECT count(*) FROM pg_tables WHERE tablename = 'mine'")), "0");
    let server = "SELECT pg_postmaster_start_time()";
    assert_eq!(one.query(server), two.query(server));
    let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", one.url().rsplit('/').next().unwrap());
    drop(one);
    assert_eq!(value(two.query(&sql)), "0");
}

/// Runs only as the child of the test below; prints its folder and waits to be killed.
#[test]
#[ignore = "the child of a_killed_process_leaves_no_server"]
fn child_that_is_killed() {
    let Some(path) = std::env::var_os("LONGTAKE_TEST_FOLDER_FILE") else { return };
    let cluster = PostgresCluster::start();
    std::fs::write(&path, cluster.folder().display().to_string()).unwrap();
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn a_killed_process_leaves_no_server() {
    let scratch = super::Scratch::new("janitor");
    let path = scratch.0.join("folder");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "postgres::child_that_is_killed"]).env("LONGTAKE_TEST_FOLDER_FILE", &path);
    let mut child = command.spawn().unwrap();
    let folder = async || std::fs::read_to_string(&path).is_ok_and(|text| !text.is_empty());
    super::wait_until("the child has a server", super::BOUND * 3, folder).await;
    let folder = std::fs::read_to_string(&path).unwrap();
    let pid_file = Path::new(&folder).join("data/postmaster.pid");
    let pid = std::fs::read_to_string(pid_file).unwrap().lines().next().unwrap().to_owned();
    child.kill().unwrap();
    child.wait().unwrap();
    super::wait_until("the folder is removed", super::BOUND, async || !Path::new(&folder).exists()).await;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "still running: {stat}");
}
