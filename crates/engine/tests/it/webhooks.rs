//! Webhooks in virtual time: nothing is lost, whoever dies; first tries come in order; the dead delay nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longtake_core::id::{EndpointId, JobId};
use longtake_core::state::StateName;
use longtake_core::time::{Clock, Timestamp};
use longtake_core::webhook::{DeliveryState, EndpointChange, EndpointStatus, EventTypes, NewEndpoint};
use longtake_core::webhook_store::WebhookStore;
use longtake_engine::EngineConfig;

use crate::runs::with_rules;
use crate::sim::clock::{pause, secs};
use crate::sim::faults::{Fault, FaultSet};
use crate::sim::options::{Class, Options};
use crate::sim::webhooks::{Receiver, Seen};
use crate::sim::world::World;
use crate::stage::Stage;

/// Jobs of a run in which workers die; so many deliveries as events times endpoints.
const JOBS: usize = 150;
/// The whole size: 100,000 deliveries.
const MANY_JOBS: usize = 1_450;
const ENDPOINTS: usize = 8;

fn options() -> Options {
    Options { webhooks: true, jobs: 10_000, ..Options::scripted(Class::ByRef) }
}

async fn endpoint(world: &World, receiver: Receiver) -> EndpointId {
    let new = NewEndpoint {
        project: world.project,
        url: "https://receiver.example/hook".into(),
        types: EventTypes::ALL,
        description: "".into(),
        salt: [3; 16],
    };
    let made = world.database.rows.create_endpoint(new).await.expect("the rows do not fail").expect("there is room");
    world.receivers.set(made.id, receiver);
    made.id
}

/// What an endpoint's deliveries came to, by event.
async fn states(world: &World, endpoint: EndpointId) -> BTreeMap<(JobId, u32), DeliveryState> {
    let (mut after, mut all) = (None, BTreeMap::new());
    loop {
        let page = world.database.rows.deliveries(world.project, endpoint, after, 100).await;
        let page = page.expect("the rows do not fail").expect("the endpoint is there");
        for (delivery, _) in &page.deliveries {
            all.insert((delivery.job, delivery.ver), delivery.state);
        }
        after = page.deliveries.last().map(|(delivery, _)| delivery.id);
        if !page.has_more {
            return all;
        }
    }
}

fn events(world: &World) -> BTreeSet<(JobId, u32)> {
    world.database.rows.events().into_iter().map(|event| (event.job, event.ver)).collect()
}

fn taken(world: &World, endpoint: EndpointId) -> BTreeSet<(JobId, u32)> {
    let seen = world.receivers.seen();
    seen.iter().filter(|seen| seen.endpoint == endpoint && seen.taken).map(|seen| (seen.job, seen.ver)).collect()
}

/// The first requests of each job's events, per endpoint, come in the order of its events.
fn assert_first_tries_in_order(world: &World) {
    let mut first: BTreeMap<(EndpointId, JobId), Vec<u32>> = BTreeMap::new();
    for seen in world.receivers.seen().iter() {
        let told = first.entry((seen.endpoint, seen.job)).or_default();
        if !told.contains(&seen.ver) {
            told.push(seen.ver);
        }
    }
    for ((endpoint, job), told) in first {
        assert!(told.is_sorted(), "endpoint {endpoint} heard of {job} first in the order {told:?}");
    }
}

/// From commit to arrival, sorted, of an endpoint's first requests.
fn latencies(seen: &[Seen], endpoint: EndpointId) -> Vec<Duration> {
    let mut known = BTreeSet::new();
    let first = seen.iter().filter(|seen| seen.endpoint == endpoint && known.insert((seen.job, seen.ver)));
    let mut latencies: Vec<Duration> = first.map(|seen| seen.arrived_at.since(seen.event_at)).collect();
    latencies.sort_unstable();
    latencies
}

fn p95(latencies: &[Duration]) -> Duration {
    latencies[(latencies.len() * 95 / 100).min(latencies.len() - 1)]
}

/// Workers die and come back while videos are made; half of the endpoints are dead, one fails for an hour.
async fn live(jobs: usize) {
    let faults = FaultSet::NONE.with(Fault::CommitUnknown).with(Fault::StoreFailed).with(Fault::LostHints);
    let stage = Stage::begin(Options { engines: 3, faults, ..options() }).await;
    let world = stage.world.clone();
    let an_hour = world.clock.now() + secs(3_600);
    let mut endpoints = Vec::new();
    for n in 0..ENDPOINTS {
        let receiver = match n {
            0 => Receiver::FailsUntil(an_hour),
            1 => Receiver::Gone,
            n if n % 2 == 0 => Receiver::Hangs,
            _ => Receiver::Takes(Duration::from_millis(20)),
        };
        endpoints.push((endpoint(&world, receiver).await, receiver));
    }
    for number in 0..jobs {
        let place = number % 3;
        if number % 40 == 39 {
            world.crash(place);
            pause(secs(2)).await;
            world.start(place).await;
        }
        stage.create_surely(place, number).await;
        pause(Duration::from_millis(400)).await;
    }
    world.faults.stop();
    world.bury_all();
    stage.until("all videos end", || crate::sim::invariants::unrest(&world).is_none()).await;
    pause(secs(4 * 3_600)).await;

    let all = events(&world);
    assert!(all.len() >= jobs * 5, "{} events of {jobs} jobs", all.len());
    for (endpoint, receiver) in endpoints {
        let states = states(&world, endpoint).await;
        let told: BTreeSet<(JobId, u32)> = states.keys().copied().collect();
        let ends: BTreeSet<u8> = states.values().map(|state| *state as u8).collect();
        let only = |state: DeliveryState| BTreeSet::from([state as u8]);
        match receiver {
            Receiver::Takes(_) | Receiver::FailsUntil(_) => {
                assert_eq!(told, all, "{receiver:?}: a delivery for each event");
                assert_eq!(ends, only(DeliveryState::Delivered), "{receiver:?}");
                assert_eq!(taken(&world, endpoint), all, "{receiver:?}: its receiver has them");
            }
            Receiver::Hangs => {
                assert_eq!(told, all, "they wait");
                assert_eq!(ends, only(DeliveryState::Pending));
            }
            Receiver::Gone => {
                assert!(!told.is_empty() && told.is_subset(&all));
                assert_eq!(ends, only(DeliveryState::Disabled));
                let seen = world.database.rows.endpoint(world.project, endpoint).await.expect("the rows do not fail");
                assert_eq!(seen.expect("it is there").status, EndpointStatus::Gone);
            }
        }
    }
    assert_first_tries_in_order(&world);
    println!("{} events, {} requests", all.len(), world.receivers.seen().len());
    world.end();
}

#[test]
fn nothing_is_lost_while_workers_die() {
    with_rules(live(JOBS));
}

#[test]
#[ignore = "the whole size, 100,000 deliveries: takes minutes"]
fn nothing_of_a_hundred_thousand_is_lost_while_workers_die() {
    with_rules(live(MANY_JOBS));
}

/// Few looks, so that days are short.
fn quiet(config: &mut EngineConfig) {
    config.look_interval = secs(3_600);
    config.beat = secs(6 * 3_600);
    config.margin = secs(6 * 3_600);
    config.ttl = secs(48 * 3_600);
    config.sweep_interval = secs(1_000 * 3_600);
}

#[test]
fn what_is_never_taken_ends_after_three_days() {
    with_rules(async {
        let stage = Stage::begin(Options { tune: quiet, ..options() }).await;
        let world = stage.world.clone();
        let dead = endpoint(&world, Receiver::Hangs).await;
        for number in 0..200 {
            stage.create(number, 0, None).await;
        }
        pause(secs(71 * 3_600)).await;
        assert_eq!(states(&world, dead).await.len(), events(&world).len());
        assert!(states(&world, dead).await.values().any(|state| *state == DeliveryState::Pending));
        // Its circuit leaves most of them few tries; their time is over all the same.
        pause(secs(12 * 3_600)).await;
        let states = states(&world, dead).await;
        assert_eq!(states.keys().copied().collect::<BTreeSet<_>>(), events(&world));
        assert!(states.values().all(|state| *state == DeliveryState::Exhausted), "{states:?}");
        world.end();
    });
}

#[test]
fn the_dead_delay_nobody() {
    with_rules(async {
        let stage = Stage::begin(options()).await;
        let world = stage.world.clone();
        let mut healthy = Vec::new();
        for n in 0..10 {
            let receiver = if n % 2 == 0 { Receiver::Hangs } else { Receiver::Takes(Duration::from_millis(30)) };
            let endpoint = endpoint(&world, receiver).await;
            healthy.extend((n % 2 == 1).then_some(endpoint));
        }
        for number in 0..200 {
            stage.create(number, 0, None).await;
            pause(Duration::from_millis(50)).await;
        }
        stage.until("all videos end", || crate::sim::invariants::unrest(&world).is_none()).await;
        pause(secs(60)).await;
        let all = events(&world);
        for endpoint in healthy {
            assert_eq!(taken(&world, endpoint), all);
            let late = p95(&latencies(&world.receivers.seen(), endpoint));
            assert!(late <= Duration::from_millis(100), "p95 of a healthy endpoint is {late:?}");
        }
        world.end();
    });
}

/// More of them than would fill every place if each took its whole share.
#[test]
fn many_that_hang_leave_room_for_others() {
    with_rules(async {
        let stage = Stage::begin(options()).await;
        let world = stage.world.clone();
        for _ in 0..60 {
            endpoint(&world, Receiver::Hangs).await;
        }
        let healthy = endpoint(&world, Receiver::Takes(Duration::from_millis(30))).await;
        for number in 0..40 {
            stage.create(number, 0, None).await;
            pause(Duration::from_millis(50)).await;
        }
        stage.until("all videos end", || crate::sim::invariants::unrest(&world).is_none()).await;
        pause(secs(60)).await;
        assert_eq!(taken(&world, healthy), events(&world));
        let late = p95(&latencies(&world.receivers.seen(), healthy));
        // While they are found out everyone has one place: seconds, and not the quarter of a minute that a try may take.
        assert!(late <= secs(5), "p95 beside sixty that hang is {late:?}");
        world.end();
    });
}

#[test]
fn a_receiver_that_was_down_for_a_day_gets_everything() {
    with_rules(async {
        let stage = Stage::begin(options()).await;
        let world = stage.world.clone();
        let back = world.clock.now() + secs(24 * 3_600);
        let endpoint = endpoint(&world, Receiver::FailsUntil(back)).await;
        for number in 0..20 {
            stage.create(number, 0, None).await;
            pause(secs(1_800)).await;
        }
        let due = next_due_after(&world, endpoint, back).await;
        pause(secs(60 * 3_600)).await;
        assert_eq!(taken(&world, endpoint), events(&world));
        let seen = world.receivers.seen();
        let taken = seen.iter().filter(|seen| seen.endpoint == endpoint && seen.taken);
        for Seen { job, ver, arrived_at, .. } in taken {
            if let Some(due_at) = due.get(&(*job, *ver)) {
                let late = arrived_at.since(*due_at);
                assert!(late <= secs(60), "{job} {ver} came {late:?} after it was due");
            }
        }
        drop(seen);
        world.end();
    });
}

/// When each delivery that still waits as the receiver comes back is due next.
async fn next_due_after(world: &World, endpoint: EndpointId, back: Timestamp) -> BTreeMap<(JobId, u32), Timestamp> {
    pause(back.since(world.clock.now())).await;
    let (mut after, mut due) = (None, BTreeMap::new());
    loop {
        let page = world.database.rows.deliveries(world.project, endpoint, after, 100).await;
        let page = page.expect("the rows do not fail").expect("the endpoint is there");
        let waiting = page.deliveries.iter().filter(|(delivery, _)| delivery.state == DeliveryState::Pending);
        due.extend(waiting.map(|(delivery, _)| ((delivery.job, delivery.ver), delivery.due_at)));
        after = page.deliveries.last().map(|(delivery, _)| delivery.id);
        if !page.has_more {
            assert!(due.len() >= 50, "{} deliveries wait", due.len());
            return due;
        }
    }
}

#[test]
fn what_is_switched_off_is_told_nothing_and_can_be_replayed() {
    with_rules(async {
        let stage = Stage::begin(options()).await;
        let world = stage.world.clone();
        let endpoint = endpoint(&world, Receiver::Takes(Duration::from_millis(5))).await;
        let first = stage.create(0, 0, None).await;
        stage.until_state(first, StateName::Completed).await;
        let switch = async |on: bool| {
            let change = EndpointChange { enabled: Some(on), ..EndpointChange::default() };
            let changed = world.database.rows.change_endpoint(world.project, endpoint, change).await;
            changed.expect("the rows do not fail").expect("it is there");
        };
        pause(secs(1)).await;
        switch(false).await;
        let second = stage.create(1, 0, None).await;
        stage.until_state(second, StateName::Completed).await;
        switch(true).await;
        pause(secs(60)).await;
        assert!(taken(&world, endpoint).iter().all(|(job, _)| *job == first));
        let replayed = world.database.rows.replay(world.project, endpoint, (first, 2), 1_000).await;
        assert!(replayed.expect("the rows do not fail").expect("the event is there").deliveries > 3);
        pause(secs(60)).await;
        assert_eq!(taken(&world, endpoint), events(&world));
        world.end();
    });
}
