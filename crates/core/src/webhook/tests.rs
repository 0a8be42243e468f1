use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_micros(secs * 1_000_000)
}

fn delivery() -> Delivery {
    let job = JobId::from_bytes([7; 16]);
    let (state, kind) = (DeliveryState::Pending, EventKind::Completed);
    let (id, endpoint) = (DeliveryId(1), EndpointId(1));
    Delivery { id, endpoint, job, ver: 1, kind, at: at(0), state, due_at: at(0), tries: 0, begun_at: at(0) }
}

const FAILED: Answer = Answer::Failed { retry_after: None };

#[test]
fn is_tried_by_the_schedule_and_then_no_more() {
    let (mut delivery, mut now, mut waits) = (delivery(), at(0), Vec::new());
    loop {
        delivery.note(FAILED, now, now, 0);
        if delivery.state != DeliveryState::Pending {
            break;
        }
        waits.push(delivery.due_at.since(now).as_secs());
        now = delivery.due_at;
    }
    assert_eq!(waits, [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000, 36_000, 36_000, 36_000, 36_000]);
    assert_eq!((delivery.state, delivery.due_at), (DeliveryState::Exhausted, Timestamp::NEVER));
    assert!(now.since(at(0)) <= Delivery::LIFE);
}

#[test]
fn what_is_ordered_again_begins_its_schedule_anew() {
    let mut delivery = Delivery { tries: 11, ..delivery() };
    delivery.again(at(500_000));
    let mut waits = Vec::new();
    for _ in 0..3 {
        let now = delivery.due_at;
        delivery.note(FAILED, now, now, 0);
        waits.push(delivery.due_at.since(now).as_secs());
    }
    assert_eq!(waits, [5, 300, 1_800]);
}

#[test]
fn how_long_a_try_took_does_not_pass_for_another_try() {
    let mut slow = Delivery { tries: 11, ..delivery() };
    slow.again(at(500_000));
    // Each takes longer than the wait behind the first.
    let mut waits = Vec::new();
    for _ in 0..3 {
        let (tried_at, now) = (slow.due_at, slow.due_at + Duration::from_secs(15));
        slow.note(FAILED, tried_at, now, 0);
        waits.push(slow.due_at.since(now).as_secs());
    }
    assert_eq!(waits, [5, 300, 1_800], "and the wait counts from its end");
    let mut late = delivery();
    late.again(at(500));
    late.note(FAILED, at(490), at(505), 0);
    assert_eq!(late.due_at, at(510), "one that began before the order counts as the first");
}

#[test]
fn waits_as_asked_within_a_bound() {
    let mut asked = delivery();
    asked.note(Answer::Failed { retry_after: Some(Duration::from_secs(60)) }, at(10), at(10), 0);
    assert_eq!(asked.due_at, at(70));
    let mut begged = delivery();
    begged.note(Answer::Failed { retry_after: Some(Duration::from_secs(u64::MAX)) }, at(10), at(10), 0);
    assert_eq!(begged.due_at, at(10) + Delivery::MAX_RETRY_AFTER);
}

#[test]
fn a_late_failure_takes_nothing_back() {
    let mut delivery = delivery();
    delivery.note(Answer::Taken, at(1), at(1), 0);
    delivery.note(FAILED, at(2), at(2), 0);
    assert_eq!((delivery.state, delivery.tries), (DeliveryState::Delivered, 2));
    delivery.again(at(3));
    assert_eq!((delivery.state, delivery.due_at), (DeliveryState::Pending, at(3)));
}

#[test]
fn a_dead_endpoint_is_left_alone_for_a_short_while() {
    let mut endpoint = Endpoint {
        id: EndpointId(1),
        project: ProjectId(1),
        url: None,
        origin: "https://example.com".into(),
        types: EventTypes::ALL,
        description: "".into(),
        status: EndpointStatus::Enabled,
        salts: Vec::new(),
        created_at: at(0),
        failures: 0,
        open_until: at(0),
    };
    for _ in 1..Endpoint::CIRCUIT_FAILURES {
        endpoint.note(false, at(1));
    }
    assert!(!endpoint.is_suspect() && endpoint.open_until == at(0));
    endpoint.note(false, at(1));
    assert!(endpoint.is_suspect() && endpoint.open_until == at(6));
    for _ in 0..100 {
        endpoint.note(false, at(1));
    }
    assert_eq!(endpoint.open_until, at(41));
    endpoint.note(true, at(2));
    assert!(!endpoint.is_suspect() && endpoint.open_until <= at(2));
}

#[test]
fn an_old_secret_signs_for_a_while() {
    let change = |salt| EndpointChange { rotate: Some((salt, Duration::from_secs(100))), ..Default::default() };
    let mut endpoint = Endpoint {
        id: EndpointId(1),
        project: ProjectId(1),
        url: Some("https://example.com".into()),
        origin: "".into(),
        types: EventTypes::of([EventKind::Completed]),
        description: "".into(),
        status: EndpointStatus::Gone,
        salts: vec![Salt { bytes: [1; 16], expires_at: None }],
        created_at: at(0),
        failures: 0,
        open_until: at(0),
    };
    let signing = |endpoint: &Endpoint, now| endpoint.active_salts(now).map(|salt| salt.bytes[0]).collect::<Vec<_>>();
    endpoint = change([2; 16]).apply(endpoint, at(0));
    endpoint = change([3; 16]).apply(endpoint, at(50));
    assert_eq!(signing(&endpoint, at(60)), [3, 2, 1]);
    assert_eq!(signing(&endpoint, at(120)), [3, 2]);
    assert_eq!(signing(&endpoint, at(1_000)), [3]);
    assert_eq!(endpoint.status, EndpointStatus::Gone, "a new secret does not switch it on");
    assert!(endpoint.types.has(EventKind::Completed) && !endpoint.types.has(EventKind::Failed));
    assert!(EventKind::ALL.into_iter().all(|kind| EventTypes::ALL.has(kind)));
}
