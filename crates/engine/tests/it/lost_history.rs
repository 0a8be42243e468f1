//! Rule R12: the database comes back without its last commits, and nothing is paid twice for it.

use longtake_core::attempt::AttemptState;
use longtake_core::event::EventKind;
use longtake_core::state::StateName;
use longtake_core::store::Store;

use crate::runs::with_rules;
use crate::sim::clients;
use crate::sim::clock::{pause, secs};
use crate::sim::options::{Class, Options};
use crate::sim::vendor::Plan;
use crate::stage::{Stage, attempts, told};

/// A job is bought, and then the store forgets that it was ever sent. How many purchases there are in the end.
async fn forgotten(class: Class, quarantine: bool) -> (usize, Vec<AttemptState>, Vec<EventKind>) {
    let stage = Stage::begin(Options { engines: 2, ..Options::scripted(class) }).await;
    let world = stage.world.clone();
    let person = tokio::spawn(clients::person(world.clone(), secs(60)));
    world.vendor.plan(Plan { render: Some(secs(900)), ..Plan::default() });
    world.crash(1);
    world.crash(0);
    let front = world.front_door();
    let job = stage.create_through(&front, 0).await;
    let backup = world.database.rows.fork();
    world.start(0).await;
    stage.until_state(job, StateName::Running).await;
    assert_eq!(world.vendor.bills().len(), 1);
    world.crash(0);
    world.database.lose_history(&backup);
    if quarantine {
        front.set_quarantine().await.expect("the store works");
    }
    world.bury_all();
    world.start(1).await;
    if !quarantine {
        stage.until("a second purchase", || world.vendor.bills().len() == 2).await;
        person.abort();
        world.end();
        return (2, Vec::new(), Vec::new());
    }
    stage.until("the end", || stage.state(job).is_terminal()).await;
    pause(secs(1)).await;
    let world = stage.end().await;
    person.abort();
    (world.vendor.bills().len(), attempts(&world, job), told(&world, job))
}

#[test]
fn a_forgotten_submission_is_found_and_not_repeated() {
    for class in [Class::ByRef, Class::Listing, Class::Key] {
        with_rules(async move {
            let (bills, attempts, told) = forgotten(class, true).await;
            assert_eq!(bills, 1, "{class:?}");
            assert_eq!(attempts, [AttemptState::Done], "{class:?}");
            assert_eq!(told[..3], [EventKind::Queued, EventKind::Verifying, EventKind::InProgress], "{class:?}");
        });
    }
}

#[test]
fn where_nothing_can_be_looked_up_a_person_decides() {
    with_rules(async {
        let (bills, attempts, told) = forgotten(Class::Nothing, true).await;
        assert_eq!(bills, 1);
        assert_eq!(attempts, [AttemptState::Done]);
        assert_eq!(told[..3], [EventKind::Queued, EventKind::Verifying, EventKind::Held]);
    });
}

#[test]
fn without_the_quarantine_it_is_paid_twice() {
    with_rules(async {
        let (bills, ..) = forgotten(Class::ByRef, false).await;
        assert_eq!(bills, 2);
    });
}
