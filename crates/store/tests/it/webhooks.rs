//! Cases: outgoing webhooks — who is told of what, in which order, how often, and what is shown of it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use longtake_core::apply::Input;
use longtake_core::event::EventKind;
use longtake_core::id::{DeliveryId, EndpointId, JobId, ProjectId};
use longtake_core::record::CancelOutcome;
use longtake_core::retention::{Keep, Retention};
use longtake_core::store::NewJob;
use longtake_core::time::Timestamp;
use longtake_core::webhook::{
    Answer, Delivery, DeliveryState, Dialect, Due, Endpoint, EndpointChange, EndpointStatus, EventTypes, NewEndpoint,
    Replayed, Room, Tried, Try, VideoWebhook,
};

use crate::given::{Given, PROJECT};

pub const URL: &str = "https://hooks.example.com/longtake";
const LEASE: Duration = Duration::from_secs(60);
pub const FAILED: Answer = Answer::Failed { retry_after: None };
const START: Timestamp = Timestamp::from_micros(0);

pub fn new_endpoint(project: ProjectId, types: EventTypes) -> NewEndpoint {
    NewEndpoint { project, url: URL.into(), types, description: "a \"receiver\"".into(), salt: [7; 16] }
}

pub fn room() -> Room {
    Room { limit: 100, per_endpoint: 10, busy: BTreeMap::new(), lease: LEASE }
}

pub fn tried(due: &Due, answer: Answer, at: Timestamp) -> Tried {
    let status = match answer {
        Answer::Taken => Some(204),
        Answer::Gone => Some(410),
        Answer::Failed { .. } => Some(503),
        Answer::Lost => None,
    };
    let log = Try { at, status, duration_ms: 12, words: "said so".into() };
    Tried { delivery: due.delivery.id, answer, log, jitter: 0 }
}

pub async fn endpoint(given: &Given, types: EventTypes) -> Endpoint {
    given.store.create_endpoint(new_endpoint(PROJECT, types)).await.unwrap().unwrap()
}

pub async fn all_types(given: &Given) -> Endpoint {
    endpoint(given, EventTypes::ALL).await
}

pub async fn take(given: &Given) -> Vec<Due> {
    given.store.take_deliveries(&room()).await.unwrap()
}

pub async fn finish(given: &Given, due: &Due, answer: Answer) {
    given.store.finish_deliveries(vec![tried(due, answer, given.now())]).await.unwrap();
}

/// Takes and delivers until nothing is due: who was told of what, in order.
pub async fn drain(given: &Given) -> Vec<(EndpointId, JobId, u32)> {
    let mut told = Vec::new();
    loop {
        let due = take(given).await;
        if due.is_empty() {
            return told;
        }
        told.extend(due.iter().map(|due| (due.delivery.endpoint, due.delivery.job, due.delivery.ver)));
        let tries = due.iter().map(|due| tried(due, Answer::Taken, given.now())).collect();
        given.store.finish_deliveries(tries).await.unwrap();
    }
}

async fn delivery(given: &Given, endpoint: EndpointId, id: DeliveryId) -> (Delivery, Vec<Try>) {
    let page = given.store.deliveries(PROJECT, endpoint, None, 100).await.unwrap().unwrap();
    page.deliveries.into_iter().find(|(row, _)| row.id == id).unwrap()
}

async fn now_is(given: &Given, endpoint: EndpointId) -> Endpoint {
    given.store.endpoint(PROJECT, endpoint).await.unwrap().unwrap()
}

pub async fn change(given: &Given, endpoint: EndpointId, change: EndpointChange) -> Endpoint {
    given.store.change_endpoint(PROJECT, endpoint, change).await.unwrap().unwrap()
}

pub fn disabled() -> EndpointChange {
    EndpointChange { enabled: Some(false), ..EndpointChange::default() }
}

fn enabled() -> EndpointChange {
    EndpointChange { enabled: Some(true), ..EndpointChange::default() }
}

pub fn deleted() -> EndpointChange {
    EndpointChange { delete: true, ..EndpointChange::default() }
}

/// A job with a `webhook_url` of its own.
pub fn with_webhook(given: &Given, endpoint: EndpointId, types: EventTypes) -> NewJob {
    let mut new = given.new_job();
    new.request.webhook = Some(VideoWebhook {
        endpoint,
        url: "https://own.example.com/hook".into(),
        types,
        dialect: Dialect::ConduitB,
        headers: BTreeMap::from([("x-team".to_owned(), "a \"team\"".to_owned())]),
    });
    new
}

/// Jobs of which one event each is to be told.
async fn queued(given: &Given, jobs: usize) -> Vec<JobId> {
    let mut queued = Vec::new();
    for _ in 0..jobs {
        queued.push(given.queued().await);
    }
    queued
}

pub async fn every_event_is_announced_to_those_who_want_it(given: &Given) {
    let other = given.store.project("another").await.unwrap();
    let all = all_types(given).await;
    let ends = endpoint(given, EventTypes::of([EventKind::Canceled])).await;
    given.store.create_endpoint(new_endpoint(other, EventTypes::ALL)).await.unwrap().unwrap();
    let executor = given.executor().await;
    let mut claim = given.running(executor, "p-1").await;
    let job = claim.work.job;
    given.store.request_cancel(PROJECT, job).await.unwrap();
    given.store.woken(executor, 10).await.unwrap();
    given.step(executor, &mut claim, Input::Canceled(CancelOutcome::StoppedUpstream)).await;
    given.store.retry(PROJECT, job, "me".into(), longtake_core::id::PoolId::NONE).await.unwrap();
    let events = given.store.events_after(job, 0, 100).await.unwrap();
    assert_eq!(events.last().unwrap().kind, EventKind::Queued, "a retry is an event too");
    let canceled = events.iter().find(|event| event.kind == EventKind::Canceled).unwrap().ver;

    let first = take(given).await;
    let of = |due: &[Due], endpoint: &Endpoint| -> Vec<Due> {
        due.iter().filter(|due| due.endpoint.id == endpoint.id).cloned().collect()
    };
    let told = of(&first, &ends);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].delivery.ver, canceled);
    assert_eq!(told[0].event.as_ref(), events.iter().find(|event| event.ver == canceled));
    assert_eq!(told[0].endpoint, ends);
    let expected = Delivery {
        due_at: given.now() + LEASE,
        ..Delivery::new(told[0].delivery.id, ends.id, told[0].event.as_ref().unwrap())
    };
    assert_eq!(told[0].delivery, expected);
    let tries = first.iter().map(|due| tried(due, Answer::Taken, given.now())).collect();
    given.store.finish_deliveries(tries).await.unwrap();
    let mut vers = vec![of(&first, &all)[0].delivery.ver];
    vers.extend(drain(given).await.into_iter().map(|(endpoint, of, ver)| {
        assert_eq!((endpoint, of), (all.id, job));
        ver
    }));
    assert_eq!(vers, events.iter().map(|event| event.ver).collect::<Vec<_>>());
}

pub async fn a_video_has_a_webhook_of_its_own(given: &Given) {
    let origin = given.store.origin_endpoint(PROJECT, "https://own.example.com:443").await.unwrap();
    assert_eq!(given.store.origin_endpoint(PROJECT, "https://own.example.com:443").await.unwrap(), origin);
    assert_ne!(given.store.origin_endpoint(PROJECT, "https://own.example.com:8443").await.unwrap(), origin);
    let other = given.store.project("another").await.unwrap();
    assert_ne!(given.store.origin_endpoint(other, "https://own.example.com:443").await.unwrap(), origin);
    assert_eq!(given.store.endpoints(PROJECT).await.unwrap(), [], "it is not what a client made");
    assert_eq!(given.store.endpoint(PROJECT, origin).await.unwrap(), None);

    let all = all_types(given).await;
    let new = with_webhook(given, origin, EventTypes::of([EventKind::Queued, EventKind::Canceled]));
    let plain = given.queued().await;
    let job = given.create(new.clone()).await;
    assert_eq!(*given.store.request(job).await.unwrap().unwrap(), new.request);
    let mut told = drain(given).await;
    told.sort_unstable();
    let mut expected = [(all.id, plain, 1), (origin, job, 1), (all.id, job, 1)];
    expected.sort_unstable();
    assert_eq!(told, expected);
    let executor = given.executor().await;
    let mut claims = given.store.acquire(executor, &crate::given::wanted(10)).await.unwrap();
    let mut claim = claims.remove(claims.iter().position(|claim| claim.work.job == job).unwrap());
    given.open(executor, &mut claim).await;
    assert_eq!(drain(given).await, [(all.id, job, 2)], "its types count, not those of the endpoint");
}

pub async fn first_tries_keep_the_order_of_events(given: &Given) {
    let all = all_types(given).await;
    let executor = given.executor().await;
    let claim = given.submitting(executor).await;
    let other = given.queued().await;
    let vers = |due: &[Due], job| -> Vec<u32> {
        due.iter().filter(|due| due.delivery.job == job).map(|due| due.delivery.ver).collect()
    };
    let first = take(given).await;
    assert_eq!((vers(&first, claim.work.job), vers(&first, other)), (vec![1], vec![1]));
    assert!(take(given).await.is_empty(), "the second waits for the first try of the first");
    let due = first.iter().find(|due| due.delivery.job == claim.work.job).unwrap();
    finish(given, due, FAILED).await;
    let second = take(given).await;
    assert_eq!(vers(&second, claim.work.job), [2], "not for its success");
    assert!(second[0].delivery.due_at < delivery(given, all.id, due.delivery.id).await.0.due_at + LEASE);
    finish(given, &second[0], Answer::Taken).await;
    given.clock.advance(Delivery::WAITS[0]);
    assert_eq!(vers(&take(given).await, claim.work.job), [1]);
}

pub async fn a_lease_keeps_others_away_until_it_ends(given: &Given) {
    let all = all_types(given).await;
    assert_eq!(given.store.next_delivery_at().await.unwrap(), None);
    given.queued().await;
    assert_eq!(given.store.next_delivery_at().await.unwrap(), Some(given.now()));
    let first = take(given).await;
    assert_eq!((first.len(), first[0].delivery.due_at), (1, given.now() + LEASE));
    assert_eq!(given.store.next_delivery_at().await.unwrap(), Some(given.now() + LEASE));
    assert!(take(given).await.is_empty());
    given.clock.advance(LEASE);
    let again = take(given).await;
    assert_eq!((again.len(), again[0].delivery.id), (1, first[0].delivery.id), "with the same id");
    finish(given, &again[0], Answer::Taken).await;
    finish(given, &first[0], FAILED).await;
    let (row, tries) = delivery(given, all.id, first[0].delivery.id).await;
    assert_eq!((row.state, row.due_at, row.tries), (DeliveryState::Delivered, Timestamp::NEVER, 2));
    assert_eq!(tries.iter().map(|log| log.status).collect::<Vec<_>>(), [Some(204), Some(503)]);
    assert_eq!(given.store.next_delivery_at().await.unwrap(), None);
}

pub async fn a_failed_try_comes_again_by_the_schedule(given: &Given) {
    let all = all_types(given).await;
    given.queued().await;
    let mut waits = Vec::new();
    let mut due = take(given).await.remove(0);
    loop {
        finish(given, &due, FAILED).await;
        // What is known of the endpoint is another matter.
        change(given, all.id, enabled()).await;
        let Some(next) = given.store.next_delivery_at().await.unwrap() else { break };
        waits.push(next.since(given.now()).as_secs());
        given.clock.advance(next.since(given.now()) - Duration::from_micros(1));
        assert!(take(given).await.is_empty());
        given.clock.advance(Duration::from_micros(1));
        due = take(given).await.remove(0);
    }
    assert_eq!(waits, [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000, 36_000, 36_000, 36_000, 36_000]);
    let (row, tries) = delivery(given, all.id, due.delivery.id).await;
    assert_eq!((row.state, row.tries, tries.len()), (DeliveryState::Exhausted, 12, 12));
    given.queued().await;
    let asked = take(given).await.remove(0);
    finish(given, &asked, Answer::Failed { retry_after: Some(Duration::from_secs(90)) }).await;
    let (row, _) = delivery(given, all.id, asked.delivery.id).await;
    assert_eq!(row.due_at, given.now() + Duration::from_secs(90));
}

pub async fn an_endpoint_that_fails_is_left_alone_and_then_tried_once(given: &Given) {
    let all = all_types(given).await;
    queued(given, 8).await;
    let five = given.store.take_deliveries(&Room { per_endpoint: 5, ..room() }).await.unwrap();
    assert_eq!(five.len(), 5);
    for due in &five {
        finish(given, due, FAILED).await;
    }
    let open_until = given.now() + Endpoint::CIRCUIT_FIRST;
    assert_eq!((now_is(given, all.id).await.failures, now_is(given, all.id).await.open_until), (5, open_until));
    assert!(take(given).await.is_empty());
    assert_eq!(given.store.next_delivery_at().await.unwrap(), Some(open_until));
    given.clock.advance(Endpoint::CIRCUIT_FIRST);
    let busy = Room { busy: BTreeMap::from([(all.id, 9)]), ..room() };
    assert!(given.store.take_deliveries(&busy).await.unwrap().is_empty(), "one at a time");
    let probe = take(given).await;
    assert_eq!(probe.len(), 1);
    finish(given, &probe[0], FAILED).await;
    assert_eq!(now_is(given, all.id).await.open_until, given.now() + 2 * Endpoint::CIRCUIT_FIRST);
    given.clock.advance(2 * Endpoint::CIRCUIT_FIRST);
    let probe = take(given).await;
    assert_eq!(probe.len(), 1);
    finish(given, &probe[0], Answer::Taken).await;
    let well = now_is(given, all.id).await;
    assert_eq!((well.failures, well.open_until), (0, START));
    assert!(take(given).await.len() > 1);
}

pub async fn what_one_address_answers_says_nothing_about_its_origin(given: &Given) {
    let origin = given.store.origin_endpoint(PROJECT, "https://own.example.com:443").await.unwrap();
    for _ in 0..12 {
        given.create(with_webhook(given, origin, EventTypes::of([EventKind::Queued]))).await;
    }
    let five = || Room { per_endpoint: 5, ..room() };
    for due in given.store.take_deliveries(&five()).await.unwrap() {
        finish(given, &due, FAILED).await;
    }
    let next = given.store.take_deliveries(&five()).await.unwrap();
    assert_eq!(next.len(), 5, "the others are told all the same");
    for due in &next {
        let silent = tried(due, FAILED, given.now());
        let silent = Tried { log: Try { status: None, ..silent.log }, ..silent };
        given.store.finish_deliveries(vec![silent]).await.unwrap();
    }
    assert!(take(given).await.is_empty(), "who says nothing is left alone");
}

pub async fn a_long_queue_delays_no_other_endpoint(given: &Given) {
    let long = endpoint(given, EventTypes::of([EventKind::Queued])).await;
    queued(given, 10).await;
    let short = endpoint(given, EventTypes::of([EventKind::Queued])).await;
    let last = queued(given, 2).await;
    let of = |due: &[Due]| -> Vec<(EndpointId, JobId)> {
        due.iter().map(|due| (due.endpoint.id, due.delivery.job)).collect()
    };
    let busy = BTreeMap::from([(long.id, 7)]);
    let first = given.store.take_deliveries(&Room { limit: 2, busy, ..room() }).await.unwrap();
    assert_eq!(of(&first), [(short.id, last[0]), (short.id, last[1])], "three are under way at the other");
    let rest = given.store.take_deliveries(&Room { limit: 5, per_endpoint: 4, ..room() }).await.unwrap();
    assert_eq!(rest.len(), 4, "no more for one endpoint: {rest:?}");
    assert!(rest.iter().all(|due| due.endpoint.id == long.id));
    assert!(given.store.take_deliveries(&Room { limit: 0, ..room() }).await.unwrap().is_empty());
    let none = BTreeMap::from([(long.id, 0)]);
    assert!(given.store.take_deliveries(&Room { busy: none, ..room() }).await.unwrap().is_empty());
}

pub async fn gone_ends_what_a_client_is_told_and_just_one_delivery_of_a_video(given: &Given) {
    let origin = given.store.origin_endpoint(PROJECT, "https://own.example.com:443").await.unwrap();
    for _ in 0..2 {
        given.create(with_webhook(given, origin, EventTypes::ALL)).await;
    }
    let due = take(given).await;
    finish(given, &due[0], Answer::Gone).await;
    finish(given, &due[1], FAILED).await;
    given.clock.advance(Delivery::WAITS[0]);
    let again = take(given).await;
    assert_eq!(again.iter().map(|due| due.delivery.id).collect::<Vec<_>>(), [due[1].delivery.id]);
    finish(given, &again[0], Answer::Taken).await;

    let all = all_types(given).await;
    queued(given, 4).await;
    let first = given.store.take_deliveries(&Room { per_endpoint: 1, ..room() }).await.unwrap().remove(0);
    finish(given, &first, Answer::Gone).await;
    assert_eq!(now_is(given, all.id).await.status, EndpointStatus::Gone);
    given.queued().await;
    let states = async || -> Vec<DeliveryState> {
        let page = given.store.deliveries(PROJECT, all.id, None, 100).await.unwrap().unwrap();
        page.deliveries.iter().map(|(row, _)| row.state).collect()
    };
    use DeliveryState::{Disabled, Pending};
    assert_eq!(states().await, [Pending, Pending, Pending, Disabled], "newer events are not announced");
    assert!(given.store.take_deliveries(&Room { limit: 2, ..room() }).await.unwrap().is_empty());
    assert_eq!(states().await, [Pending, Disabled, Disabled, Disabled], "a bounded piece at a time");
    assert!(take(given).await.is_empty());
    assert_eq!(states().await, [Disabled; 4]);
    assert_eq!(given.store.next_delivery_at().await.unwrap(), None);
}

pub async fn a_disabled_endpoint_is_told_nothing_until_it_is_enabled(given: &Given) {
    let all = all_types(given).await;
    let before = given.queued().await;
    assert_eq!(change(given, all.id, disabled()).await.status, EndpointStatus::Disabled);
    given.queued().await;
    assert!(take(given).await.is_empty());
    change(given, all.id, enabled()).await;
    assert!(take(given).await.is_empty(), "what ended stays so");
    let after = given.queued().await;
    assert_eq!(drain(given).await, [(all.id, after, 1)]);
    let page = given.store.deliveries(PROJECT, all.id, None, 10).await.unwrap().unwrap();
    let states: Vec<_> = page.deliveries.iter().map(|(row, _)| (row.job, row.state)).collect();
    assert_eq!(states, [(after, DeliveryState::Delivered), (before, DeliveryState::Disabled)]);

    given.queued().await;
    assert_eq!(change(given, all.id, deleted()).await.status, EndpointStatus::Deleted);
    assert!(take(given).await.is_empty());
    assert_eq!(given.store.next_delivery_at().await.unwrap(), None);
    assert_eq!(given.store.endpoint(PROJECT, all.id).await.unwrap(), None);
    assert_eq!(given.store.endpoints(PROJECT).await.unwrap(), []);
    assert_eq!(given.store.deliveries(PROJECT, all.id, None, 10).await.unwrap(), None);
    assert_eq!(given.store.change_endpoint(PROJECT, all.id, enabled()).await.unwrap(), None);
}

pub async fn what_a_client_changes_is_kept(given: &Given) {
    let made = all_types(given).await;
    assert_eq!(made.created_at, given.now());
    assert_eq!(now_is(given, made.id).await, made);
    let second = endpoint(given, EventTypes::of([EventKind::Failed])).await;
    assert_eq!(given.store.endpoints(PROJECT).await.unwrap(), [made.clone(), second]);
    given.clock.advance(Duration::from_secs(1));
    let wanted = EndpointChange {
        url: Some("https://other.example.com/".into()),
        types: Some(EventTypes::of([EventKind::Completed])),
        description: Some("".into()),
        rotate: Some(([9; 16], Duration::from_secs(3_600))),
        ..EndpointChange::default()
    };
    let expected = wanted.apply(made.clone(), given.now());
    assert_eq!(change(given, made.id, wanted).await, expected);
    assert_eq!(now_is(given, made.id).await, expected);
    assert_eq!(expected.active_salts(given.now()).map(|salt| salt.bytes).collect::<Vec<_>>(), [[9; 16], [7; 16]]);
    let other = given.store.project("another").await.unwrap();
    assert_eq!(given.store.endpoint(other, made.id).await.unwrap(), None);
    assert_eq!(given.store.change_endpoint(other, made.id, deleted()).await.unwrap(), None);
    assert_eq!(given.store.deliveries(other, made.id, None, 10).await.unwrap(), None);
}

pub async fn the_log_pages_from_the_newest_on(given: &Given) {
    let all = all_types(given).await;
    let jobs = queued(given, 5).await;
    let due = take(given).await;
    for _ in 0..Try::MAX_KEPT + 3 {
        finish(given, &due[0], Answer::Taken).await;
    }
    let (row, tries) = delivery(given, all.id, due[0].delivery.id).await;
    assert_eq!((usize::try_from(row.tries).unwrap(), tries.len()), (Try::MAX_KEPT + 3, Try::MAX_KEPT));
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = given.store.deliveries(PROJECT, all.id, after, 2).await.unwrap().unwrap();
        assert!(page.deliveries.len() <= 2);
        seen.extend(page.deliveries.iter().map(|(row, _)| row.job));
        after = page.deliveries.last().map(|(row, _)| row.id);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, jobs.into_iter().rev().collect::<Vec<_>>());
}

pub async fn a_delivery_is_told_again_when_its_client_says_so(given: &Given) {
    let all = all_types(given).await;
    let job = given.queued().await;
    assert_eq!(drain(given).await, [(all.id, job, 1)]);
    let page = given.store.deliveries(PROJECT, all.id, None, 1).await.unwrap().unwrap();
    let id = page.deliveries[0].0.id;
    given.clock.advance(Duration::from_secs(9));
    let again = given.store.redeliver(PROJECT, all.id, id).await.unwrap().unwrap();
    assert_eq!((again.state, again.due_at, again.begun_at), (DeliveryState::Pending, given.now(), given.now()));
    assert_eq!((again.id, again.tries), (id, 1));
    assert_eq!(drain(given).await, [(all.id, job, 1)]);
    let other = endpoint(given, EventTypes::ALL).await;
    let project = given.store.project("another").await.unwrap();
    assert_eq!(given.store.redeliver(PROJECT, other.id, id).await.unwrap(), None);
    assert_eq!(given.store.redeliver(project, all.id, id).await.unwrap(), None);
    assert_eq!(given.store.redeliver(PROJECT, all.id, DeliveryId(99)).await.unwrap(), None);
}

pub async fn a_replay_tells_what_was_missed_in_the_order_of_the_feed(given: &Given) {
    let other = given.store.project("another").await.unwrap();
    let known = endpoint(given, EventTypes::of([EventKind::Queued])).await;
    let first = given.queued().await;
    let executor = given.executor().await;
    let mut claim = given.acquire(executor).await;
    given.open(executor, &mut claim).await;
    given.create(NewJob { project: other, ..given.new_job() }).await;
    let rest = queued(given, 3).await;
    drain(given).await;
    let late = endpoint(given, EventTypes::of([EventKind::Queued, EventKind::Submitted])).await;
    given.clock.advance(Duration::from_secs(1));

    let replayed = given.store.replay(PROJECT, late.id, (first, 1), 2).await.unwrap();
    assert_eq!(replayed, Some(Replayed { deliveries: 2, more_after: Some((rest[0], 1)) }));
    let replayed = given.store.replay(PROJECT, late.id, (rest[0], 1), 2).await.unwrap();
    assert_eq!(replayed, Some(Replayed { deliveries: 2, more_after: None }));
    let due = take(given).await;
    assert!(due.iter().all(|due| due.event.is_some() && due.delivery.begun_at == given.now()));
    let told: Vec<_> = due.iter().map(|due| (due.delivery.job, due.delivery.ver)).collect();
    assert_eq!(told, [(first, 2), (rest[0], 1), (rest[1], 1), (rest[2], 1)]);
    let replayed = given.store.replay(PROJECT, known.id, (first, 1), 100).await.unwrap();
    assert_eq!(replayed, Some(Replayed { deliveries: 3, more_after: None }), "only the types that it wants");
    let again: Vec<_> = take(given).await.iter().map(|due| (due.delivery.job, due.delivery.tries)).collect();
    assert_eq!(again, [(rest[0], 1), (rest[1], 1), (rest[2], 1)], "those that exist are told again");

    assert_eq!(given.store.replay(PROJECT, late.id, (first, 9), 2).await.unwrap(), None);
    assert_eq!(given.store.replay(other, late.id, (first, 1), 2).await.unwrap(), None);
    assert_eq!(given.store.replay(PROJECT, EndpointId(99), (first, 1), 2).await.unwrap(), None);
}

pub async fn there_is_an_end_to_endpoints_and_origins(given: &Given) {
    for _ in 0..Endpoint::MAX_PER_PROJECT {
        all_types(given).await;
    }
    assert_eq!(given.store.create_endpoint(new_endpoint(PROJECT, EventTypes::ALL)).await.unwrap(), None);
    let some = given.store.endpoints(PROJECT).await.unwrap();
    assert_eq!(some.len(), Endpoint::MAX_PER_PROJECT);
    change(given, some[3].id, deleted()).await;
    all_types(given).await;

    let origin = |n: usize| format!("https://{n}.example.com:443");
    let wanted = (0..Endpoint::MAX_ORIGINS)
        .map(|n| async move { given.store.origin_endpoint(PROJECT, &origin(n)).await.unwrap() });
    let made: std::collections::BTreeSet<EndpointId> = join_all(wanted).await.into_iter().collect();
    assert_eq!(made.len(), Endpoint::MAX_ORIGINS);
    let rest = given.store.origin_endpoint(PROJECT, &origin(Endpoint::MAX_ORIGINS)).await.unwrap();
    assert!(!made.contains(&rest), "all further ones share one");
    assert_eq!(given.store.origin_endpoint(PROJECT, &origin(Endpoint::MAX_ORIGINS + 1)).await.unwrap(), rest);
    assert!(made.contains(&given.store.origin_endpoint(PROJECT, &origin(5)).await.unwrap()));
}

pub async fn what_a_receiver_says_is_kept_whatever_it_is(given: &Given) {
    let all = all_types(given).await;
    given.queued().await;
    let due = take(given).await.remove(0);
    let words = format!("\0 {} \u{1f98a}\n\"'", "x".repeat(Try::MAX_ANSWER_BYTES));
    let mut said = tried(&due, FAILED, given.now());
    said.log = Try { at: given.now(), status: None, duration_ms: u32::MAX, words: words.clone().into() };
    given.store.finish_deliveries(vec![said.clone()]).await.unwrap();
    let (_, tries) = delivery(given, all.id, due.delivery.id).await;
    let shown = |text: &str| text.replace('\0', "\u{fffd}");
    assert_eq!((tries[0].status, tries[0].duration_ms, shown(&tries[0].words)), (None, u32::MAX, shown(&words)));
    let described = EndpointChange { description: Some("a\0b".into()), ..EndpointChange::default() };
    change(given, all.id, described).await;
    assert_eq!(shown(&now_is(given, all.id).await.description), "a\u{fffd}b");
}

pub async fn a_delivery_goes_with_its_job_and_not_before(given: &Given) {
    let all = all_types(given).await;
    let origin = given.store.origin_endpoint(PROJECT, "https://own.example.com:443").await.unwrap();
    let executor = given.executor().await;
    given.create(with_webhook(given, origin, EventTypes::ALL)).await;
    let mut claim = given.acquire(executor).await;
    given.store.request_cancel(PROJECT, claim.work.job).await.unwrap();
    given.store.woken(executor, 10).await.unwrap();
    given.step(executor, &mut claim, Input::Canceled(CancelOutcome::StoppedUpstream)).await;
    let due = take(given).await;
    assert_eq!(due.len(), 2);
    for due in &due {
        finish(given, due, FAILED).await;
    }
    given.store.hide(PROJECT, claim.work.job).await.unwrap();
    given.clock.advance(Duration::from_hours(24));
    let keep = |keep| Retention { default: keep, projects: BTreeMap::new() };
    let old = Some(Duration::from_hours(1));
    expire(given, &keep(Keep { events: old, ..Keep::default() })).await;
    let lost = take(given).await;
    assert!(lost.iter().all(|due| due.event.is_none()) && !lost.is_empty(), "there is nothing to send: {lost:?}");
    finish(given, &lost[0], Answer::Lost).await;
    assert_eq!(now_is(given, all.id).await.failures, 1, "which says nothing about the endpoint");
    given.clock.advance(Duration::from_hours(1));
    expire(given, &keep(Keep { jobs: old, ..Keep::default() })).await;
    let page = given.store.deliveries(PROJECT, all.id, None, 10).await.unwrap().unwrap();
    assert_eq!(page.deliveries, []);
    assert_eq!(given.store.next_delivery_at().await.unwrap(), None);
    finish(given, &lost[0], Answer::Taken).await;
    assert_eq!(now_is(given, all.id).await.failures, 1, "who comes back with it is passed over");
    // A job of the same id hears nothing of what the first one wanted.
    let again = NewJob { job: claim.work.job, ..given.new_job() };
    given.create(again).await;
    assert_eq!(drain(given).await, [(all.id, claim.work.job, 1)]);
}

async fn expire(given: &Given, policy: &Retention) {
    for _ in 0..1_000 {
        if !given.store.expire(policy, 100).await.unwrap().more {
            return;
        }
    }
    panic!("a thousand calls and no end");
}

pub async fn what_its_circuit_left_no_try_ends_when_its_time_is_over(given: &Given) {
    let all = all_types(given).await;
    queued(given, 8).await;
    let five = given.store.take_deliveries(&Room { per_endpoint: 5, ..room() }).await.unwrap();
    for due in &five {
        finish(given, due, FAILED).await;
    }
    given.clock.advance(Delivery::LIFE - Duration::from_secs(1));
    let young = given.queued().await;
    given.clock.advance(Duration::from_secs(2));
    let two = Room { limit: 2, ..room() };
    assert!(given.store.take_deliveries(&two).await.unwrap().is_empty(), "it ends some before it is tried again");
    let states = async |state| {
        let page = given.store.deliveries(PROJECT, all.id, None, 100).await.unwrap().unwrap();
        page.deliveries.iter().filter(|(row, _)| row.state == state).count()
    };
    assert_eq!(states(DeliveryState::Exhausted).await, 2);
    for _ in 0..4 {
        assert!(given.store.take_deliveries(&two).await.unwrap().iter().all(|due| due.delivery.job == young));
    }
    assert_eq!((states(DeliveryState::Exhausted).await, states(DeliveryState::Pending).await), (8, 1));
}
