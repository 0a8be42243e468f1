//! Cases: what was sent about one job, whoever is told; and when an endpoint that its client removed is forgotten.

use std::time::Duration;

use longtake_core::apply::Input;
use longtake_core::event::EventKind;
use longtake_core::id::{DeliveryId, EndpointId, JobId};
use longtake_core::record::CancelOutcome;
use longtake_core::retention::{Expired, Keep, Retention};
use longtake_core::webhook::{Answer, DeliveryState, EventTypes, JobDeliveries};
use longtake_store::PostgresTuning;
use longtake_testing::postgres::TestDatabase;

use crate::given::{Given, HandClock, PROJECT, options};
use crate::webhooks::{
    FAILED, all_types, change, deleted, disabled, drain, endpoint, finish, new_endpoint, room, take, with_webhook,
};

const ORIGIN: &str = "https://own.example.com:443";

async fn log(given: &Given, job: JobId) -> JobDeliveries {
    given.store.job_deliveries(PROJECT, job, None, 100).await.unwrap().unwrap()
}

/// For whom, of which event, how far, and how often tried.
fn rows(log: &JobDeliveries) -> Vec<(EndpointId, u32, DeliveryState, usize)> {
    let row = |row: &(longtake_core::webhook::Delivery, Vec<_>)| (row.0.endpoint, row.0.ver, row.0.state, row.1.len());
    log.page.deliveries.iter().map(row).collect()
}

pub async fn a_job_shows_what_was_sent_about_it_to_whomever(given: &Given) {
    use DeliveryState::{Delivered, Disabled, Pending};
    let (all, removed) = (all_types(given).await, all_types(given).await);
    let origin = given.store.origin_endpoint(PROJECT, ORIGIN).await.unwrap();
    let executor = given.executor().await;
    let job = given.create(with_webhook(given, origin, EventTypes::ALL)).await;
    let mut claim = given.acquire(executor).await;
    let other = given.queued().await;
    let due = take(given).await;
    for due in due.iter().filter(|due| due.delivery.job == job) {
        let answer = if due.endpoint.id == origin { FAILED } else { Answer::Taken };
        finish(given, due, answer).await;
    }
    given.open(executor, &mut claim).await;
    change(given, removed.id, deleted()).await;
    take(given).await;

    let seen = log(given, job).await;
    assert_eq!((seen.own, seen.page.has_more), (Some(origin), false));
    let mut told = rows(&seen);
    // Who is told of one event first is nobody's business.
    told.sort_unstable_by_key(|(endpoint, ver, ..)| (std::cmp::Reverse(*ver), *endpoint));
    let mut expected = [
        (all.id, 2, Pending, 0),
        (removed.id, 2, Disabled, 0),
        (origin, 2, Pending, 0),
        (all.id, 1, Delivered, 1),
        (removed.id, 1, Delivered, 1),
        (origin, 1, Pending, 1),
    ];
    expected.sort_unstable_by_key(|(endpoint, ver, ..)| (std::cmp::Reverse(*ver), *endpoint));
    assert_eq!(told, expected);
    assert!(seen.page.deliveries.iter().all(|(row, _)| row.job == job));
    assert_eq!(seen.page.deliveries.iter().find(|(row, _)| row.ver == 1).unwrap().1[0].duration_ms, 12);

    let (mut after, mut paged) = (None, Vec::new());
    loop {
        let page = given.store.job_deliveries(PROJECT, job, after, 4).await.unwrap().unwrap();
        assert_eq!(page.own, Some(origin));
        assert!(page.page.deliveries.len() <= 4);
        after = page.page.deliveries.last().map(|(row, _)| row.id);
        paged.extend(page.page.deliveries);
        if !page.page.has_more {
            break;
        }
    }
    assert_eq!(paged, seen.page.deliveries);
    assert!(paged.is_sorted_by(|(one, _), (next, _)| one.id > next.id), "newest first");

    let plain = log(given, other).await;
    assert_eq!((plain.own, plain.page.deliveries.len()), (None, 2));
    let project = given.store.project("another").await.unwrap();
    assert_eq!(given.store.job_deliveries(project, job, None, 9).await.unwrap(), None);
    assert_eq!(given.store.job_deliveries(PROJECT, JobId::from_bytes([9; 16]), None, 9).await.unwrap(), None);
}

pub async fn a_delivery_of_a_job_is_told_again_to_whomever(given: &Given) {
    let all = all_types(given).await;
    let origin = given.store.origin_endpoint(PROJECT, ORIGIN).await.unwrap();
    let executor = given.executor().await;
    let job = given.create(with_webhook(given, origin, EventTypes::of([EventKind::Queued]))).await;
    let mut claim = given.acquire(executor).await;
    let other = given.queued().await;
    assert_eq!(drain(given).await.len(), 3);
    given.clock.advance(Duration::from_secs(9));
    let of = async |endpoint| {
        let seen = log(given, job).await.page.deliveries;
        seen.into_iter().find(|(row, _)| row.endpoint == endpoint).unwrap().0.id
    };
    let (own, clients) = (of(origin).await, of(all.id).await);
    for (id, endpoint) in [(own, origin), (clients, all.id)] {
        let again = given.store.redeliver_of_job(PROJECT, job, id).await.unwrap().unwrap();
        assert_eq!((again.state, again.due_at, again.begun_at), (DeliveryState::Pending, given.now(), given.now()));
        assert_eq!((again.id, again.endpoint, again.tries), (id, endpoint, 1));
    }
    let mut told = drain(given).await;
    told.sort_unstable();
    let mut expected = [(origin, job, 1), (all.id, job, 1)];
    expected.sort_unstable();
    assert_eq!(told, expected);

    let project = given.store.project("another").await.unwrap();
    assert_eq!(given.store.redeliver_of_job(project, job, own).await.unwrap(), None);
    assert_eq!(given.store.redeliver_of_job(PROJECT, other, own).await.unwrap(), None, "it is another's");
    assert_eq!(given.store.redeliver_of_job(PROJECT, job, DeliveryId(99)).await.unwrap(), None);
    change(given, all.id, deleted()).await;
    given.store.redeliver_of_job(PROJECT, job, clients).await.unwrap().unwrap();
    assert!(drain(given).await.is_empty(), "nobody is there to hear it");
    let seen = log(given, job).await.page.deliveries;
    assert_eq!(seen.iter().find(|(row, _)| row.id == clients).unwrap().0.state, DeliveryState::Disabled);

    given.store.request_cancel(PROJECT, job).await.unwrap();
    given.store.woken(executor, 10).await.unwrap();
    given.step(executor, &mut claim, Input::Canceled(CancelOutcome::StoppedUpstream)).await;
    given.store.hide(PROJECT, job).await.unwrap();
    assert_eq!(given.store.job_deliveries(PROJECT, job, None, 9).await.unwrap(), None, "a removed video shows nothing");
    assert_eq!(given.store.redeliver_of_job(PROJECT, job, own).await.unwrap(), None);
    assert!(drain(given).await.is_empty());
}

/// One call of retention.
async fn expire(given: &Given, jobs: Duration, limit: usize) -> Expired {
    let policy = Retention { default: Keep { jobs: Some(jobs), ..Keep::default() }, ..Retention::default() };
    given.store.expire(&policy, limit).await.unwrap()
}

pub async fn a_removed_endpoint_is_forgotten_with_its_last_delivery(given: &Given) {
    let week = Duration::from_hours(24 * 7);
    let origin = given.store.origin_endpoint(PROJECT, ORIGIN).await.unwrap();
    let told = all_types(given).await;
    let executor = given.executor().await;
    let mut claim = given.running(executor, "p-1").await;
    given.store.request_cancel(PROJECT, claim.work.job).await.unwrap();
    given.store.woken(executor, 10).await.unwrap();
    given.step(executor, &mut claim, Input::Canceled(CancelOutcome::StoppedUpstream)).await;
    let (kept, off) = (all_types(given).await, all_types(given).await);
    change(given, off.id, disabled()).await;
    assert_eq!(expire(given, week, 10).await, Expired::default(), "nobody removed one");
    for _ in 0..3 {
        let idle = endpoint(given, EventTypes::ALL).await;
        change(given, idle.id, deleted()).await;
    }
    change(given, told.id, deleted()).await;

    // A bounded piece at a time.
    assert_eq!(expire(given, week, 2).await, Expired { endpoints: 2, more: true, ..Expired::default() });
    assert_eq!(expire(given, week, 2).await, Expired { endpoints: 1, ..Expired::default() });
    assert_eq!(expire(given, week, 2).await, Expired::default(), "what it was told is still shown");
    given.clock.advance(week);
    let expired = expire(given, week, 10).await;
    assert_eq!((expired.jobs, expired.endpoints, expired.more), (1, 1, false), "with the job that it was told of");
    assert_eq!(expire(given, week, 10).await, Expired::default());
    let left: Vec<EndpointId> =
        given.store.endpoints(PROJECT).await.unwrap().iter().map(|endpoint| endpoint.id).collect();
    assert_eq!(left, [kept.id, off.id]);
    assert_eq!(given.store.origin_endpoint(PROJECT, ORIGIN).await.unwrap(), origin, "that of an origin stays");
    let new = all_types(given).await;
    assert!(new.id > off.id, "and no number is given twice");
}

/// An event that was told while the endpoint went.
#[tokio::test]
async fn nobody_waits_for_a_delivery_of_no_endpoint() {
    let database = TestDatabase::create();
    let tuning = PostgresTuning { injected_clock: true, connections: 2, ..PostgresTuning::default() };
    let clock = std::sync::Arc::new(HandClock::new());
    let store = longtake_store::connect(&database.url(), options(clock.clone()), tuning).await.unwrap();
    let given = Given::new(store, clock);
    let all = all_types(&given).await;
    let job = given.queued().await;
    let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.execute("delete from endpoint where id = $1", &[&all.id.0]).await.unwrap();
    assert_eq!(given.store.next_delivery_at().await.unwrap(), None);
    assert!(given.store.take_deliveries(&room()).await.unwrap().is_empty());
    assert_eq!(log(&given, job).await.page.deliveries.len(), 1);
    given.store.create_endpoint(new_endpoint(PROJECT, EventTypes::ALL)).await.unwrap().unwrap();
    let next = given.queued().await;
    assert_eq!(given.store.next_delivery_at().await.unwrap(), Some(given.now()));
    assert_eq!(drain(&given).await.iter().map(|(_, job, _)| *job).collect::<Vec<_>>(), [next], "others are told");
}
