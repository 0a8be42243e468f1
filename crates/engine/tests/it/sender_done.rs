//! Rule R7c: the sender lives, and another process owns the job. Absence waits for the sender's own word, and no longer.

use std::time::Duration;

use longtake_core::attempt::AttemptState;
use longtake_core::event::EventKind;
use longtake_core::id::JobId;
use longtake_core::state::StateName;
use longtake_core::time::{Clock, Timestamp};

use crate::runs::with_rules;
use crate::sim::clock::{pause, secs};
use crate::sim::options::{Class, LISTING_LAG, Options};
use crate::sim::provider::Fate;
use crate::sim::store::Trap;
use crate::stage::{Stage, attempts, told};

/// Providers without keys that answer "not found".
const CLASSES: [Class; 3] = [Class::ByRef, Class::Listing, Class::Shape];
/// Longer than any wait here: the sender's process neither ends nor goes on.
const FOR_GOOD: Duration = secs(20_000);
/// `absence_settle` of the simulated provider.
const SETTLE: Duration = secs(120);
/// Until a stopped owner is given up, its row taken and looked at, and until the look-up after the settle time.
const HANDOVER: Duration = secs(100);

/// Two processes and one job whose first submission is lost; what befalls the sender as it hands in its word.
async fn lost(options: Options, trap: Trap, deadline: Option<Duration>) -> (Stage, JobId) {
    let stage = Stage::begin(Options { engines: 2, verify_deadline: secs(1_500), ..options }).await;
    stage.world.vendor.script(&[Fate::Lost]);
    stage.world.database.set_trap("record_evidence", trap);
    let job = stage.create(0, 0, deadline).await;
    stage.until("the trap", || !stage.world.database.has_trap()).await;
    (stage, job)
}

fn someone_is_stopped(stage: &Stage) -> bool {
    (0..2).filter_map(|place| stage.world.process(place)).any(|(gate, _)| gate.is_frozen())
}

fn word_at(stage: &Stage, job: JobId) -> Option<Timestamp> {
    let attempts = stage.world.database.rows.attempts().into_iter();
    attempts.filter(|(of, _)| *of == job).find_map(|(_, attempt)| attempt.request_ended_at)
}

#[test]
fn the_word_of_a_sender_that_lives_lets_its_successor_prove_absence() {
    for class in CLASSES {
        with_rules(async move {
            let (stage, job) = lost(Options::scripted(class), Trap::FreezeAfter(FOR_GOOD), None).await;
            stage.until("the sender's word", || word_at(&stage, job).is_some()).await;
            let said_at = word_at(&stage, job).expect("it was said");
            stage.until("the second attempt", || attempts(&stage.world, job).len() == 2).await;
            let waited = stage.world.clock.now().since(said_at);
            assert!(waited >= SETTLE && waited <= HANDOVER + SETTLE + LISTING_LAG, "{class:?} after {waited:?}");
            assert!(someone_is_stopped(&stage), "the sender lives");
            stage.until_state(job, StateName::Completed).await;
            let world = stage.end().await;
            assert_eq!(attempts(&world, job), [AttemptState::NotAccepted, AttemptState::Done], "{class:?}");
            assert_eq!(world.vendor.bills().len(), 1);
            assert!(!told(&world, job).contains(&EventKind::Held), "{class:?}");
        });
    }
}

#[test]
fn an_unknown_outcome_by_its_successor_is_not_the_senders_word() {
    for class in CLASSES {
        with_rules(async move {
            // It has sent, and is stopped before anyone learns that its request ended.
            let (stage, job) = lost(Options::scripted(class), Trap::FreezeBefore(secs(600)), None).await;
            stage.until_state(job, StateName::Verifying).await;
            while someone_is_stopped(&stage) {
                let known = attempts(&stage.world, job);
                assert_eq!(known, [AttemptState::Unknown], "{class:?}: the successor says so, and it proves nothing");
                assert_eq!(word_at(&stage, job), None);
                pause(secs(1)).await;
            }
            let goes_on_at = stage.world.clock.now();
            stage.until("the second attempt", || attempts(&stage.world, job).len() == 2).await;
            let waited = stage.world.clock.now().since(goes_on_at);
            assert!(waited >= SETTLE && waited <= HANDOVER + SETTLE + LISTING_LAG, "{class:?} after {waited:?}");
            stage.until_state(job, StateName::Completed).await;
            let world = stage.end().await;
            assert_eq!(attempts(&world, job), [AttemptState::NotAccepted, AttemptState::Done], "{class:?}");
            assert_eq!(world.vendor.bills().len(), 1);
        });
    }
}

#[test]
fn a_sender_that_is_stopped_before_its_first_byte_is_waited_for() {
    for class in CLASSES {
        with_rules(async move {
            let options = Options { engines: 2, verify_deadline: secs(1_500), ..Options::scripted(class) };
            let stage = Stage::begin(options).await;
            stage.world.vendor.script(&[Fate::Stopped(600)]);
            let job = stage.create(0, 0, None).await;
            stage.until_state(job, StateName::Completed).await;
            let world = stage.end().await;
            assert_eq!(attempts(&world, job), [AttemptState::Done], "{class:?}");
            assert_eq!(world.vendor.bills().len(), 1, "{class:?}");
            assert!(told(&world, job).contains(&EventKind::Verifying), "{class:?}: its successor took over");
        });
    }
}

/// Rule R8: with keys every owner sends, and the row has the word of the first only.
#[test]
fn where_keys_are_recognised_the_word_of_the_first_sender_is_not_enough() {
    with_rules(async {
        let options = Options { engines: 3, verify_deadline: secs(1_500), ..Options::scripted(Class::Key) };
        let stage = Stage::begin(options).await;
        // The first is lost, the second owner is stopped before its first byte, the third is refused for now.
        stage.world.vendor.script(&[Fate::Lost, Fate::Stopped(400)]);
        stage.world.vendor.script(&[Fate::Rejected; 60]);
        stage.world.database.set_trap("record_evidence", Trap::FreezeAfter(FOR_GOOD));
        let job = stage.create(0, 0, None).await;
        stage.until("the sender's word", || word_at(&stage, job).is_some()).await;
        stage.until_state(job, StateName::Completed).await;
        let world = stage.end().await;
        assert_eq!(attempts(&world, job), [AttemptState::Done]);
        assert_eq!(world.vendor.bills().len(), 1);
    });
}

#[test]
fn a_late_attempt_is_not_watched_to_its_limit_once_its_sender_has_spoken() {
    for class in CLASSES {
        with_rules(async move {
            let options = Options { watch_limit: secs(10_000), ..Options::scripted(class) };
            let (stage, job) = lost(options, Trap::FreezeAfter(FOR_GOOD), Some(secs(100))).await;
            stage.until("the end", || stage.state(job).is_terminal()).await;
            let ended_at = stage.world.clock.now();
            stage.until("the watch to end", || attempts(&stage.world, job) == [AttemptState::NotAccepted]).await;
            let waited = stage.world.clock.now().since(ended_at);
            assert!(waited <= HANDOVER + SETTLE + LISTING_LAG, "{class:?}: watched for {waited:?}");
            assert!(someone_is_stopped(&stage), "the sender lives");
            stage.end().await;
        });
    }
}
