//! Webhooks on PostgreSQL, besides the common cases: several machines take and finish at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longtake_core::apply::Input;
use longtake_core::id::{DeliveryId, EndpointId, ExecutorId, JobId};
use longtake_core::record::CancelOutcome;
use longtake_core::retention::{Keep, Retention};
use longtake_core::store::{NewJob, OpenResult, StepCommit, StepInput, Store};
use longtake_core::webhook::{Answer, Delivery, DeliveryState, EndpointChange, EventTypes, Room};
use longtake_store::PostgresTuning;
use longtake_testing::postgres::TestDatabase;
use longtake_testing::wait_until;

use crate::given::{Given, HandClock, PROJECT, options, wanted};
use crate::webhooks::{FAILED, new_endpoint, room, tried};

const BOUND: Duration = Duration::from_secs(60);

async fn store(database: &TestDatabase) -> Arc<dyn Store> {
    let tuning = PostgresTuning { connections: 4, ..PostgresTuning::default() };
    longtake_store::connect(&database.url(), options(Arc::new(HandClock::new())), tuning).await.unwrap()
}

async fn endpoints(store: &dyn Store, number: usize) -> Vec<EndpointId> {
    let mut made = Vec::new();
    for _ in 0..number {
        made.push(store.create_endpoint(new_endpoint(PROJECT, EventTypes::ALL)).await.unwrap().unwrap().id);
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn each_delivery_goes_to_one_of_those_who_take_at_once() {
    const JOBS: usize = 150;
    const ENDPOINTS: usize = 4;
    let database = TestDatabase::create();
    let stores = [store(&database).await, store(&database).await, store(&database).await];
    endpoints(&*stores[0], ENDPOINTS).await;
    let given = Given::new(stores[0].clone(), Arc::new(HandClock::new()));
    given.store.create((0..JOBS).map(|_| given.new_job()).collect()).await.unwrap();
    let total = Arc::new(AtomicUsize::new(0));
    let takers: Vec<_> =
        stores.into_iter().map(|store| tokio::spawn(take_all(store, total.clone(), JOBS * ENDPOINTS))).collect();
    let (mut taken, mut shares): (Vec<DeliveryId>, Vec<usize>) = (Vec::new(), Vec::new());
    for taker in takers {
        let own = taker.await.unwrap();
        shares.push(own.len());
        taken.extend(own);
    }
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), JOBS * ENDPOINTS, "none is left");
    assert_eq!(taken.len(), JOBS * ENDPOINTS, "none is taken twice");
    assert!(shares.iter().filter(|share| **share > 0).count() > 1, "they took at once: {shares:?}");
}

/// Who comes at the same moment as another may find nothing although there is something.
async fn take_all(store: Arc<dyn Store>, total: Arc<AtomicUsize>, all: usize) -> Vec<DeliveryId> {
    let mut taken = Vec::new();
    let room = Room { limit: 16, per_endpoint: 8, ..room() };
    for _ in 0..10_000 {
        if total.load(Ordering::SeqCst) >= all {
            break;
        }
        let due = store.take_deliveries(&room).await.unwrap();
        total.fetch_add(due.len(), Ordering::SeqCst);
        taken.extend(due.iter().map(|due| due.delivery.id));
    }
    taken
}

/// Creates, decisions, takes, tries that fail and succeed, replays, changes and retention, all at once for some rounds.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_crosswise_for_another() {
    const ROUNDS: usize = 25;
    let database = TestDatabase::create();
    let stores = [store(&database).await, store(&database).await];
    let made = endpoints(&*stores[0], 3).await;
    let origin = stores[0].origin_endpoint(PROJECT, "https://own.example.com:443").await.unwrap();
    let given = Arc::new(Given::new(stores[0].clone(), Arc::new(HandClock::new())));
    let first = given.queued().await;
    let mut running = Vec::new();
    for _ in 0..2 {
        running.push(tokio::spawn(drive(given.clone(), origin, ROUNDS)));
    }
    let finished = Arc::new(AtomicUsize::new(0));
    for (n, store) in [&stores[0], &stores[1], &stores[1]].into_iter().enumerate() {
        running.push(tokio::spawn(try_all(store.clone(), n, finished.clone(), ROUNDS * 6)));
    }
    for endpoint in &made[..2] {
        running.push(tokio::spawn(meddle(stores[1].clone(), *endpoint, first, ROUNDS)));
    }
    for task in running {
        task.await.unwrap();
    }
    let told = stores[0].deliveries(PROJECT, made[2], None, 1_000).await.unwrap().unwrap();
    let tries: u32 = told.deliveries.iter().map(|(row, _)| row.tries).sum();
    assert!(tries > 0 && told.deliveries.iter().any(|(row, _)| row.state == DeliveryState::Delivered));
    assert!(finished.load(Ordering::SeqCst) > 100, "{finished:?} tries");
    drop((stores, given));
    let gone = "select numbackends from pg_stat_database where datname = current_database()";
    wait_until("what connections counted is told", BOUND, async || database.query(gone)[0][0].as_deref() == Some("1"))
        .await;
    let deadlocks = database.query("select deadlocks from pg_stat_database where datname = current_database()");
    assert_eq!(deadlocks, [[Some("0".to_owned())]]);
}

/// Jobs with events in batches; half of them end and may go.
async fn drive(given: Arc<Given>, origin: EndpointId, rounds: usize) {
    let executor = given.executor().await;
    for _ in 0..rounds {
        let mut jobs: Vec<NewJob> = (0..4).map(|_| given.new_job()).collect();
        jobs[0].request.webhook = Some(longtake_core::webhook::VideoWebhook {
            endpoint: origin,
            url: "https://own.example.com/".into(),
            types: EventTypes::ALL,
            dialect: longtake_core::webhook::Dialect::Longtake,
            headers: BTreeMap::new(),
        });
        given.store.create(jobs).await.unwrap();
        let claims = given.store.acquire(executor, &wanted(4)).await.unwrap();
        let intents = claims.iter().map(|claim| given.intent(executor, claim)).collect();
        let opened = given.store.open_attempts(executor, intents).await.unwrap();
        assert!(opened.iter().all(|opened| matches!(opened, OpenResult::Opened(_))), "{opened:?}");
        for claim in claims.iter().take(2) {
            given.store.request_cancel(PROJECT, claim.work.job).await.unwrap();
        }
        step_all(&given, executor, &claims).await;
        let keep = Keep { jobs: Some(Duration::ZERO), ..Keep::default() };
        given.store.expire(&Retention { default: keep, projects: BTreeMap::new() }, 50).await.unwrap();
    }
}

async fn step_all(given: &Given, executor: ExecutorId, claims: &[longtake_core::store::Claim]) {
    let input = |n: usize| match n {
        0 | 1 => Input::Canceled(CancelOutcome::NotStoppable),
        _ => Input::TakenOver,
    };
    let commit = |(n, claim): (usize, &longtake_core::store::Claim)| StepCommit {
        work: claim.work,
        fence: claim.fence,
        input: StepInput::Job(input(n)),
        exchanges: Vec::new(),
        release: None,
    };
    given.store.step(executor, claims.iter().enumerate().map(commit).collect()).await.unwrap();
}

/// Leases that end at once: several have the same deliveries, and come back in any order.
async fn try_all(store: Arc<dyn Store>, n: usize, finished: Arc<AtomicUsize>, rounds: usize) {
    let room = Room { limit: 24, per_endpoint: 12, lease: Duration::from_millis(1), ..room() };
    for round in 0..rounds {
        let mut due = store.take_deliveries(&room).await.unwrap();
        if n == 1 {
            due.reverse();
        }
        let answer = |at: usize| if (at + round + n).is_multiple_of(4) { Answer::Taken } else { FAILED };
        let tries = due.iter().enumerate().map(|(at, due)| tried(due, answer(at), due.delivery.at)).collect();
        store.finish_deliveries(tries).await.unwrap();
        finished.fetch_add(due.len(), Ordering::SeqCst);
    }
}

/// Makes everything due again, and an endpoint well, all the time.
async fn meddle(store: Arc<dyn Store>, endpoint: EndpointId, after: JobId, rounds: usize) {
    for round in 0..rounds {
        store.replay(PROJECT, endpoint, (after, 1), 500).await.unwrap().unwrap();
        let enabled = Some(!round.is_multiple_of(5));
        let change = EndpointChange { enabled, ..EndpointChange::default() };
        store.change_endpoint(PROJECT, endpoint, change).await.unwrap().unwrap();
        let page = store.deliveries(PROJECT, endpoint, None, 20).await.unwrap().unwrap();
        for (Delivery { id, .. }, _) in page.deliveries.iter().step_by(4) {
            store.redeliver(PROJECT, endpoint, *id).await.unwrap();
        }
    }
}
