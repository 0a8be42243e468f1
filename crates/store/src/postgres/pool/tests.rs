//! The pool against a server that is busy, restarted, killed, frozen and replaced.

use longtake_testing::postgres::{PostgresCluster, PostgresOptions, Stop, TestDatabase};
use longtake_testing::wait_until;

use super::*;

/// Bound of every wait.
const BOUND: Duration = Duration::from_secs(20);

fn tuning(connections: usize, acquire_timeout: Duration) -> PostgresTuning {
    PostgresTuning { connections, acquire_timeout, ..PostgresTuning::default() }
}

async fn opened(url: &str, connections: usize) -> Pool {
    Pool::open(url, &tuning(connections, BOUND)).await.unwrap()
}

async fn refused(url: &str) -> OpenError {
    match Pool::open(url, &tuning(1, Duration::from_secs(2))).await {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error,
    }
}

async fn value(lease: &Lease, sql: &str) -> String {
    let rows = lease.client().simple_query(sql).await.unwrap();
    let text = |message: &tokio_postgres::SimpleQueryMessage| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    rows.iter().find_map(text).unwrap()
}

async fn backend(lease: &Lease) -> String {
    value(lease, "select pg_backend_pid()").await
}

#[tokio::test]
async fn sessions_are_as_durable_and_bounded_as_promised() {
    let database = TestDatabase::create();
    let pool = opened(&database.url(), 1).await;
    let lease = pool.lease().await.unwrap();
    let settings = [
        ("synchronous_commit", "on"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("statement_timeout", "10s"),
        ("lock_timeout", "2s"),
        ("default_transaction_isolation", "read committed"),
        ("application_name", "longtake"),
    ];
    for (name, wanted) in settings {
        assert_eq!(value(&lease, &format!("show {name}")).await, wanted, "{name}");
    }
}

#[tokio::test]
async fn a_stronger_commit_stays_and_a_weaker_one_does_not() {
    let database = TestDatabase::create();
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    for (given, wanted) in [("remote_apply", "remote_apply"), ("off", "on"), ("local", "on"), ("remote_write", "on")] {
        let _no_rows = database.query(&format!("alter database {name} set synchronous_commit = {given}"));
        let pool = opened(&database.url(), 1).await;
        assert_eq!(value(&pool.lease().await.unwrap(), "show synchronous_commit").await, wanted, "{given}");
    }
}

#[tokio::test]
async fn callers_wait_in_order_and_not_for_ever() {
    let database = TestDatabase::create();
    let pool = Arc::new(Pool::open(&database.url(), &tuning(1, Duration::from_millis(200))).await.unwrap());
    let held = pool.lease().await.unwrap();
    let Err(failure) = pool.lease().await else { panic!("two connections from a pool of one") };
    let told = longtake_core::store::StoreError::from(failure).to_string();
    let wanted = "no free database connection of 1 within 0.2 s: raise [database] pool_size";
    assert!(told.contains(wanted), "{told}");

    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for number in 0..3 {
        let (pool, order) = (Arc::new(opened_waiting(&pool)), Arc::clone(&order));
        let mut lease = Box::pin(async move { (pool.lease().await.unwrap(), number, order) });
        assert!(futures::poll!(&mut lease).is_pending());
        waiting.push(lease);
    }
    drop(held);
    waiting.reverse();
    let note = |(lease, number, order): (Lease, i32, Arc<Mutex<Vec<i32>>>)| {
        order.lock().unwrap().push(number);
        drop(lease);
    };
    futures::future::join_all(waiting.into_iter().map(|lease| async move { note(lease.await) })).await;
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
}

/// Until the ends of all connections have been read. A call that is faster is repeated by the store.
async fn noticed(pool: &Pool) {
    let closed = async || pool.idle.lock().unwrap().iter().all(|connection| connection.client.is_closed());
    wait_until("the connections are known to be gone", BOUND, closed).await;
}

/// The same connections, for callers with more patience.
fn opened_waiting(pool: &Pool) -> Pool {
    Pool {
        target: pool.target.clone(),
        size: pool.size,
        acquire_timeout: BOUND,
        longest_lease: pool.longest_lease,
        permits: Arc::clone(&pool.permits),
        waiting: AtomicU64::new(0),
        idle: Arc::clone(&pool.idle),
        has_schema: AtomicBool::new(false),
        failover_loses_nothing: pool.failover_loses_nothing,
    }
}

#[tokio::test]
async fn a_connection_is_used_again_with_its_statements() {
    let database = TestDatabase::create();
    let pool = opened(&database.url(), 3).await;
    let lease = pool.lease().await.unwrap();
    let first = backend(&lease).await;
    assert!(matches!(lease.statement("select 1"), Err(Failure::Unavailable(_))));
    lease.prepare(&["select 1", "select 2"]).await.unwrap();
    drop(lease);
    let lease = pool.lease().await.unwrap();
    assert_eq!(backend(&lease).await, first);
    let statement = lease.statement("select 2").unwrap();
    assert_eq!(lease.client().query_one(&statement, &[]).await.unwrap().get::<_, i32>(0), 2);
}

#[tokio::test]
async fn an_open_transaction_is_never_inherited() {
    let database = TestDatabase::create();
    let _no_rows = database.query("create table t (a int)");
    let pool = opened(&database.url(), 1).await;
    let lease = pool.lease().await.unwrap();
    let first = backend(&lease).await;
    let mut work = Box::pin(async move {
        lease.set_in_transaction(true);
        lease.client().batch_execute("begin; insert into t values (1)").await.unwrap();
        lease.client().batch_execute("select pg_sleep(60)").await
    });
    let sleeping = format!("select count(*) from pg_stat_activity where pid = {first} and query like '%pg_sleep%'");
    let asked = async {
        wait_until("the statement runs", BOUND, async || database.query(&sleeping)[0][0].as_deref() == Some("1")).await;
    };
    tokio::select! {
        _ = &mut work => panic!("a minute passed"),
        () = asked => {}
    }
    // As when a client of ours hangs up.
    drop(work);
    let lease = pool.lease().await.unwrap();
    assert_ne!(backend(&lease).await, first);
    assert_eq!(value(&lease, "select count(*) from t").await, "0");
    assert_eq!(value(&lease, "select now() = statement_timestamp()").await, "t", "no transaction is open");
}

#[tokio::test]
async fn a_finished_transaction_gives_its_connection_back() {
    let database = TestDatabase::create();
    let pool = opened(&database.url(), 1).await;
    let lease = pool.lease().await.unwrap();
    let first = backend(&lease).await;
    lease.set_in_transaction(true);
    lease.client().batch_execute("begin").await.unwrap();
    lease.client().batch_execute("commit").await.unwrap();
    lease.set_in_transaction(false);
    drop(lease);
    assert_eq!(backend(&pool.lease().await.unwrap()).await, first);
}

#[tokio::test]
async fn killed_connections_are_replaced() {
    let database = TestDatabase::create();
    let pool = opened(&database.url(), 2).await;
    let (one, two) = (pool.lease().await.unwrap(), pool.lease().await.unwrap());
    let before = [backend(&one).await, backend(&two).await];
    drop((one, two));
    assert_eq!(database.terminate_backends(), 2);
    noticed(&pool).await;
    let lease = pool.lease().await.unwrap();
    assert!(!before.contains(&backend(&lease).await));
}

#[tokio::test]
async fn a_restart_is_waited_for() {
    let mut cluster = PostgresCluster::start();
    let pool = opened(&cluster.url("postgres"), 2).await;
    cluster.kill9();
    noticed(&pool).await;
    let waiting = pool.lease();
    let restarting = tokio::task::spawn_blocking(move || {
        cluster.restart();
        cluster
    });
    let (lease, cluster) = tokio::join!(waiting, restarting);
    assert_eq!(value(&lease.unwrap(), "select 1").await, "1");

    let mut cluster = cluster.unwrap();
    cluster.stop(Stop::Fast);
    noticed(&pool).await;
    let short = Pool { acquire_timeout: Duration::from_secs(1), ..opened_waiting(&pool) };
    let Err(failure) = short.lease().await else { panic!("a stopped server answered") };
    let told = longtake_core::store::StoreError::from(failure).to_string();
    assert!(told.contains("cannot be reached") && told.contains(&cluster.port().to_string()), "{told}");
}

#[tokio::test]
async fn the_standby_that_took_over_is_found() {
    let mut primary = PostgresCluster::start();
    let standby = primary.standby("second");
    let url = PostgresCluster::url_of_all(&[&primary, &standby], "postgres");
    let pool = opened(&url, 2).await;
    assert_eq!(value(&pool.lease().await.unwrap(), "show port").await, primary.port().to_string());
    let error = refused(&standby.url("postgres")).await;
    assert!(matches!(error, OpenError::NotPrimary { .. }), "{error}");
    primary.kill9();
    noticed(&pool).await;
    let promoting = tokio::task::spawn_blocking(move || {
        standby.promote();
        standby
    });
    let (lease, standby) = tokio::join!(pool.lease(), promoting);
    assert_eq!(value(&lease.unwrap(), "show port").await, standby.unwrap().port().to_string());
}

#[tokio::test]
async fn a_frozen_server_ends_the_call_and_not_the_pool() {
    let cluster = PostgresCluster::start();
    let longest = Duration::from_millis(200);
    let pool = Pool::open_with(&cluster.url("postgres"), &tuning(1, BOUND), longest).await.unwrap();
    let lease = pool.lease().await.unwrap();
    cluster.pause();
    let error = lease.client().simple_query("select 1").await.unwrap_err();
    assert!(error.is_closed(), "{error}");
    drop(lease);
    cluster.resume();
    assert_eq!(value(&pool.lease().await.unwrap(), "select 1").await, "1");
}

#[tokio::test]
async fn servers_that_may_lose_what_they_acknowledged_are_refused() {
    let fast = PostgresOptions { fsync: false, ..PostgresOptions::default() };
    let cluster = PostgresCluster::start_with(fast);
    let error = refused(&cluster.url("postgres")).await;
    assert!(matches!(error, OpenError::UnsafeSetting { name: "fsync" }), "{error}");
    drop(cluster);
    let settings = vec![("full_page_writes".to_owned(), "off".to_owned())];
    let cluster = PostgresCluster::start_with(PostgresOptions { settings, ..PostgresOptions::default() });
    let error = refused(&cluster.url("postgres")).await;
    assert!(matches!(error, OpenError::UnsafeSetting { name: "full_page_writes" }), "{error}");
    assert!(error.to_string().contains("set full_page_writes = on"), "{error}");
}

#[tokio::test]
async fn what_waiting_cannot_mend_is_told_at_once_and_without_the_password() {
    let database = TestDatabase::create();
    let server = database.url().rsplit_once('/').unwrap().0.replace("postgres@", "nobody:secret@");
    let started = Instant::now();
    let Err(error) = Pool::open(&format!("{server}/postgres"), &tuning(1, BOUND)).await else { panic!("opened") };
    assert!(started.elapsed() < BOUND / 2, "it was tried again");
    let told = error.to_string();
    assert!(told.contains("role \"nobody\" does not exist") && !told.contains("secret"), "{told}");
    let error = refused(&format!("{}_that_is_not_there", database.url())).await;
    assert!(error.to_string().contains("does not exist"), "{error}");
}
