//! What a webhook costs in statements of the database, by their number: it does not depend on the machine.

use std::collections::BTreeMap;
use std::time::Duration;

use longtake_core::webhook::{Answer, Room};
use longtake_store::statements::counted;

use crate::given::Given;
use crate::suite::{on_postgres, on_sqlite};
use crate::webhooks::{all_types, tried};

/// A burst of creates, and how many of them come with one call of the store.
const BURST: usize = 200;
const TOGETHER: usize = 50;
/// More statements than these for an event that one receiver is told of are too many.
const BAR: f64 = 4.0;

async fn creates(given: &Given) -> u64 {
    let before = counted();
    for _ in 0..BURST / TOGETHER {
        given.store.create((0..TOGETHER).map(|_| given.new_job()).collect()).await.unwrap();
    }
    counted() - before
}

/// Takes and delivers everything, so many at a time.
async fn deliver(given: &Given, at_once: usize) -> u64 {
    let room = Room { limit: at_once, per_endpoint: at_once, busy: BTreeMap::new(), lease: Duration::from_secs(60) };
    let (before, mut told) = (counted(), 0);
    while told < BURST {
        let due = given.store.take_deliveries(&room).await.unwrap();
        assert!(!due.is_empty(), "only {told} were due");
        told += due.len();
        let tries = due.iter().map(|due| tried(due, Answer::Taken, given.now())).collect();
        given.store.finish_deliveries(tries).await.unwrap();
    }
    counted() - before
}

/// Of each event: what its announcement adds to a create, `asking` who is told, and its delivery.
async fn of_an_event(given: &Given, asking: f64) -> [f64; 2] {
    let without = creates(given).await;
    all_types(given).await;
    let mut each = [0.0; 2];
    for (each, at_once) in each.iter_mut().zip([10, 32]) {
        let announced = creates(given).await - without;
        let delivered = deliver(given, at_once).await;
        *each = asking + (announced + delivered) as f64 / BURST as f64;
    }
    each
}

fn within_the_bar(each: [f64; 2]) {
    eprintln!("statements of an event: {each:.2?}, 10 and 32 deliveries at a time");
    assert!(each.iter().all(|each| *each <= BAR), "{each:?}");
}

/// SQLite asks for each event who is told, also where nobody is.
#[tokio::test]
async fn an_event_costs_at_most_four_statements_in_sqlite() {
    on_sqlite(async |given| within_the_bar(of_an_event(given, 1.0).await)).await;
}

/// In PostgreSQL that is part of the statement that inserts the event.
#[tokio::test]
async fn an_event_costs_at_most_four_statements_in_postgres() {
    on_postgres(async |given| within_the_bar(of_an_event(given, 0.0).await)).await;
}
