//! Scripted steps: each one repeated, broken off before and after its call, and deprived of its ownership (C3-C19).

use longtake_core::attempt::AttemptState;
use longtake_core::event::EventKind;
use longtake_core::failure::FailureCode;
use longtake_core::provider::CancelAnswer;
use longtake_core::record::CancelOutcome;
use longtake_core::state::{JobState, StateName};
use longtake_core::store::Store;

use crate::runs::with_rules;
use crate::sim::clients;
use crate::sim::clock::{pause, secs};
use crate::sim::options::{Class, Options};
use crate::sim::provider::Fate;
use crate::sim::store::Trap;
use crate::sim::vendor::Plan;
use crate::stage::{Stage, attempts, told};

const CLASSES: [Class; 5] = [Class::Nothing, Class::ByRef, Class::Listing, Class::Shape, Class::Key];

/// One job through a trap: the process dies where it says so and begins anew; a person helps where only one can.
async fn through(class: Class, name: &'static str, trap: Trap) -> (Vec<AttemptState>, Vec<EventKind>, usize) {
    let stage = Stage::begin(Options::scripted(class)).await;
    let world = stage.world.clone();
    let person = tokio::spawn(clients::person(world.clone(), secs(60)));
    world.database.set_trap(name, trap);
    let job = stage.create(0, 0, None).await;
    stage.until("the trap", || !world.database.has_trap()).await;
    if matches!(trap, Trap::CrashBefore | Trap::CrashAfter) {
        pause(secs(1)).await;
        world.crash(0);
        world.start(0).await;
    }
    stage.until("the end", || stage.state(job).is_terminal()).await;
    let world = stage.end().await;
    person.abort();
    (attempts(&world, job), told(&world, job), world.vendor.bills().len())
}

const ALL_TRAPS: [Trap; 4] = [Trap::CrashBefore, Trap::CrashAfter, Trap::UnknownApplied, Trap::UnknownLost];

#[test]
fn c3_a_crash_before_the_intent_leaves_no_attempt() {
    for class in CLASSES {
        let (attempts, told, bills) = with_rules(through(class, "open_attempts", Trap::CrashBefore));
        assert_eq!((attempts, bills), (vec![AttemptState::Done], 1), "{class:?}");
        assert!(!told.contains(&EventKind::Verifying), "{class:?}");
    }
}

#[test]
fn c4_an_intent_whose_commit_is_unknown_is_never_sent() {
    for class in CLASSES {
        let (made, _, bills) = with_rules(through(class, "open_attempts", Trap::UnknownApplied));
        assert_eq!((made, bills), (vec![AttemptState::NotAccepted, AttemptState::Done], 1), "{class:?}");
        let (made, _, bills) = with_rules(through(class, "open_attempts", Trap::UnknownLost));
        assert_eq!((made, bills), (vec![AttemptState::Done], 1), "{class:?}");
    }
}

#[test]
fn c5_an_intent_without_a_send_is_proved_absent_or_held() {
    for class in CLASSES {
        let (made, told, bills) = with_rules(through(class, "open_attempts", Trap::CrashAfter));
        assert!(told.contains(&EventKind::Verifying), "{class:?}");
        match class {
            // A person decided; whether for another attempt or for the end is the person's choice.
            Class::Nothing => assert!(told.contains(&EventKind::Held) && bills <= 1, "{told:?}"),
            Class::Key => assert_eq!((made, bills), (vec![AttemptState::Done], 1)),
            _ => assert_eq!((made, bills), (vec![AttemptState::NotAccepted, AttemptState::Done], 1), "{class:?}"),
        }
    }
}

async fn fate(class: Class, fate: Fate) -> (Vec<AttemptState>, Vec<EventKind>, usize) {
    let stage = Stage::begin(Options::scripted(class)).await;
    let world = stage.world.clone();
    let person = tokio::spawn(clients::person(world.clone(), secs(60)));
    world.vendor.script(&[fate]);
    let job = stage.create(0, 0, None).await;
    if matches!(fate, Fate::CrashBefore | Fate::CrashAfter) {
        stage.until("the intent", || stage.state(job) == StateName::Submitting).await;
        pause(secs(2)).await;
        world.crash(0);
        world.start(0).await;
    }
    stage.until("the end", || stage.state(job).is_terminal()).await;
    let world = stage.end().await;
    person.abort();
    (attempts(&world, job), told(&world, job), world.vendor.bills().len())
}

#[test]
fn c6_a_submission_whose_answer_was_not_read_is_found_again_and_never_repeated() {
    for class in CLASSES {
        for lost in [Fate::CrashAfter, Fate::Dropped, Fate::ServerError, Fate::Late] {
            let (made, told, bills) = with_rules(fate(class, lost));
            assert_eq!((made, bills), (vec![AttemptState::Done], 1), "{class:?} {lost:?}");
            assert!(told.contains(&EventKind::Verifying), "{class:?} {lost:?}");
            assert_eq!(told.contains(&EventKind::Held), class == Class::Nothing, "{class:?} {lost:?}");
        }
    }
}

#[test]
fn a_submission_that_did_not_arrive_is_made_again_once_that_is_proved() {
    for class in [Class::ByRef, Class::Listing, Class::Shape] {
        for lost in [Fate::Lost, Fate::CrashBefore] {
            let (made, _, bills) = with_rules(fate(class, lost));
            assert_eq!((made, bills), (vec![AttemptState::NotAccepted, AttemptState::Done], 1), "{class:?} {lost:?}");
        }
    }
    let (made, _, bills) = with_rules(fate(Class::Key, Fate::Lost));
    assert_eq!((made, bills), (vec![AttemptState::Done], 1));
}

#[test]
fn refusals_cost_nothing_and_say_what_comes_next() {
    for class in CLASSES {
        for (refusal, again) in
            [(Fate::NotSent, true), (Fate::RateLimited, true), (Fate::Rejected, false), (Fate::AccountRefused, false)]
        {
            let (made, told, bills) = with_rules(fate(class, refusal));
            assert_eq!(bills, usize::from(again), "{class:?} {refusal:?}");
            assert_eq!(made[0], AttemptState::NotAccepted);
            let end = if again { EventKind::Completed } else { EventKind::Failed };
            assert_eq!(told.last(), Some(&end), "{class:?} {refusal:?}");
        }
    }
}

#[test]
fn c7_c8_evidence_is_found_again_or_handed_in_again() {
    for class in CLASSES {
        for trap in ALL_TRAPS {
            let (made, told, bills) = with_rules(through(class, "record_evidence", trap));
            assert_eq!((made, bills), (vec![AttemptState::Done], 1), "{class:?} {trap:?}");
            let repeated = matches!(trap, Trap::UnknownApplied | Trap::UnknownLost);
            assert!(!repeated || !told.contains(&EventKind::Verifying), "{class:?} {trap:?}: {told:?}");
        }
    }
}

#[test]
fn c9_to_c14_every_decision_survives_a_crash_and_an_unknown_commit_and_is_told_once() {
    for name in ["step fold", "step progress", "step provider_done", "step stored"] {
        for trap in ALL_TRAPS {
            let (made, told, bills) = with_rules(through(Class::ByRef, name, trap));
            assert_eq!((made, bills), (vec![AttemptState::Done], 1), "{name} {trap:?}");
            let expected = [
                EventKind::Queued,
                EventKind::Submitted,
                EventKind::InProgress,
                EventKind::Storing,
                EventKind::Completed,
            ];
            assert_eq!(told, expected, "{name} {trap:?}");
        }
    }
}

#[test]
fn an_owner_that_was_stopped_decides_nothing_and_still_hands_in_its_evidence() {
    let stopped = [
        ("open_attempts", Trap::FreezeAfter(secs(50))),
        ("record_evidence", Trap::FreezeBefore(secs(50))),
        ("step fold", Trap::FreezeBefore(secs(50))),
        ("step provider_done", Trap::FreezeBefore(secs(50))),
        ("step stored", Trap::FreezeBefore(secs(50))),
    ];
    for class in CLASSES {
        for (name, trap) in stopped {
            let (made, told, bills) = with_rules(async {
                let stage = Stage::begin(Options { engines: 2, ..Options::scripted(class) }).await;
                let world = stage.world.clone();
                let person = tokio::spawn(clients::person(world.clone(), secs(200)));
                world.database.set_trap(name, trap);
                let job = stage.create(0, 0, None).await;
                stage.until("the trap", || !world.database.has_trap()).await;
                stage.until("the end", || stage.state(job).is_terminal()).await;
                let world = stage.end().await;
                person.abort();
                (attempts(&world, job), told(&world, job), world.vendor.bills().len())
            });
            // Stopped between its intent and its send, it finds that its time is over and says so.
            let sent = name != "open_attempts";
            let expected: &[_] =
                if sent { &[AttemptState::Done] } else { &[AttemptState::NotAccepted, AttemptState::Done] };
            if sent || class != Class::Key {
                assert_eq!((&made[..], bills), (expected, 1), "{class:?} {name}: {told:?}");
            }
            assert_eq!(told.last(), Some(&EventKind::Completed), "{class:?} {name}");
        }
    }
}

#[test]
fn c12_a_copy_broken_off_is_made_anew_under_a_new_fence() {
    with_rules(async {
        let stage = Stage::begin(Options::scripted(Class::ByRef)).await;
        let world = stage.world.clone();
        let job = stage.create(0, 0, None).await;
        stage.until_state(job, StateName::Storing).await;
        world.crash(0);
        world.start(0).await;
        stage.until_state(job, StateName::Completed).await;
        let world = stage.end().await;
        let keys: Vec<_> = world.database.rows.artifacts().into_iter().map(|(_, artifact)| artifact.key).collect();
        assert_eq!(keys.len(), 1);
        assert!(!keys[0].as_str().ends_with("-1"), "the second owner's copy: {}", keys[0]);
    });
}

async fn canceled(plan: Plan, can_cancel: bool, at: StateName) -> (Vec<EventKind>, Option<CancelOutcome>) {
    let options = Options { can_cancel, max_in_flight: Some(1), ..Options::scripted(Class::ByRef) };
    let stage = Stage::begin(Options { jobs: 2, ..options }).await;
    let world = stage.world.clone();
    world.vendor.plan(plan);
    if at == StateName::Queued {
        stage.create(0, 0, None).await; // takes the only slot
        pause(secs(1)).await;
    }
    let job = stage.create(1, 0, None).await;
    stage.until_state(job, at).await;
    pause(secs(1)).await;
    stage.cancel(job).await;
    stage.cancel(job).await; // asked again, it changes nothing
    stage.until("the end", || stage.state(job).is_terminal()).await;
    let outcome = stage.record(job).cancel.map(|cancel| cancel.outcome);
    let world = stage.end().await;
    (told(&world, job), outcome)
}

#[test]
fn each_cancel_says_what_became_of_it() {
    let render = Some(secs(300));
    let cases = [
        (Plan { render, ..Plan::default() }, true, StateName::Queued, CancelOutcome::StoppedBeforeStart, false),
        (Plan { render, ..Plan::default() }, true, StateName::Running, CancelOutcome::StoppedUpstream, false),
        (Plan { render, ..Plan::default() }, false, StateName::Running, CancelOutcome::NotStoppable, true),
        (
            Plan { render, cancel: Some(CancelAnswer::NotStoppable), ..Plan::default() },
            true,
            StateName::Running,
            CancelOutcome::NotStoppable,
            true,
        ),
        (Plan { render, ..Plan::default() }, true, StateName::Completed, CancelOutcome::TooLate, false),
    ];
    for (plan, can_cancel, at, expected, late) in cases {
        let (told, outcome) = with_rules(canceled(plan, can_cancel, at));
        assert_eq!(outcome, Some(expected), "{plan:?} {at:?}");
        let results = told.iter().filter(|kind| **kind == EventKind::LateResult).count();
        assert_eq!(results, usize::from(late), "a late result is announced once: {told:?}");
        let end = if expected == CancelOutcome::TooLate { EventKind::Completed } else { EventKind::Canceled };
        assert!(told.contains(&end), "{told:?}");
    }
}

#[test]
fn a_deadline_ends_a_job_in_every_state_and_what_is_paid_is_still_fetched() {
    // Running, not stoppable: the result comes late. In doubt: found later. Waiting: at once.
    for (class, fate, can_cancel) in [
        (Class::ByRef, Fate::Answered, false),
        (Class::ByRef, Fate::Answered, true),
        (Class::Listing, Fate::Dropped, false),
        (Class::ByRef, Fate::Late, false),
        (Class::Nothing, Fate::Lost, false),
    ] {
        with_rules(async {
            let stage = Stage::begin(Options { can_cancel, ..Options::scripted(class) }).await;
            let world = stage.world.clone();
            world.vendor.plan(Plan { render: Some(secs(600)), ..Plan::default() });
            world.vendor.script(&[fate]);
            let job = stage.create(0, 0, Some(secs(70))).await;
            stage.until("the end", || stage.state(job).is_terminal()).await;
            let record = stage.record(job);
            let code = match &record.state {
                JobState::Failed { failure } => Some(failure.code),
                _ => None,
            };
            assert_eq!(code, Some(FailureCode::DeadlineExceeded), "{class:?} {fate:?}");
            let waited = record.finished_at.expect("it is finished").since(record.created_at);
            assert!(waited >= secs(70) && waited < secs(90), "{class:?} {fate:?} ended after {waited:?}");
            let world = stage.end().await;
            let late = told(&world, job).iter().filter(|kind| **kind == EventKind::LateResult).count();
            assert_eq!(late, usize::from(!can_cancel && fate != Fate::Lost), "{class:?} {fate:?}");
        });
    }
}

#[test]
fn a_deadline_passes_while_a_job_waits_for_its_account() {
    with_rules(async {
        let stage = Stage::begin(Options { jobs: 2, max_in_flight: Some(1), ..Options::scripted(Class::ByRef) }).await;
        stage.world.vendor.plan(Plan { render: Some(secs(900)), ..Plan::default() });
        stage.create(0, 0, None).await;
        pause(secs(1)).await;
        let job = stage.create(1, 0, Some(secs(30))).await;
        stage.until_state(job, StateName::Failed).await;
        let world = stage.end().await;
        assert!(attempts(&world, job).is_empty());
    });
}

#[test]
fn accounts_are_never_overfilled_and_priority_goes_first() {
    with_rules(async {
        let options = Options { jobs: 7, max_in_flight: Some(1), engines: 1, ..Options::scripted(Class::ByRef) };
        let stage = Stage::begin(options).await;
        let world = stage.world.clone();
        stage.create(0, 0, None).await;
        pause(secs(2)).await;
        let mut jobs = Vec::new();
        for (number, priority) in [(1, 0), (2, -5), (3, 10), (4, 0), (5, 10), (6, 100)] {
            jobs.push(stage.create(number, priority, None).await);
            pause(std::time::Duration::from_millis(20)).await;
        }
        let limit = |world: &crate::sim::world::World| {
            let now = longtake_core::time::Clock::now(&world.clock);
            world.vendor.bills().iter().filter(|bill| bill.is_running(now)).count()
        };
        stage
            .until("all of them", || {
                assert!(limit(&world) <= 1, "the account runs more than one");
                jobs.iter().all(|job| stage.state(*job) == StateName::Completed)
            })
            .await;
        let world = stage.end().await;
        let order: Vec<_> = world.vendor.bills().iter().skip(1).map(|bill| bill.job).collect();
        assert_eq!(order, [jobs[5], jobs[2], jobs[4], jobs[0], jobs[3], jobs[1]]);
    });
}

#[test]
fn what_outlasts_its_watch_limit_becomes_an_orphan() {
    with_rules(async {
        let options = Options { can_cancel: false, watch_limit: secs(600), ..Options::scripted(Class::ByRef) };
        let stage = Stage::begin(options).await;
        stage.world.vendor.plan(Plan { render: Some(secs(100_000)), ..Plan::default() });
        let job = stage.create(0, 0, None).await;
        stage.until_state(job, StateName::Running).await;
        stage.cancel(job).await;
        stage.until_state(job, StateName::Canceled).await;
        let world = stage.end().await;
        let orphans = world.database.rows.orphans();
        assert_eq!(orphans.len(), 1);
        assert_eq!(orphans[0].job, job);
    });
}

#[test]
fn a_job_is_lost_upstream_only_after_the_settle_time() {
    for (missing, lost) in [(secs(100), false), (secs(100_000), true)] {
        with_rules(async {
            let stage = Stage::begin(Options::scripted(Class::ByRef)).await;
            let plan = Plan { render: Some(secs(300)), missing: Some((secs(50), missing)), ..Plan::default() };
            stage.world.vendor.plan(plan);
            let job = stage.create(0, 0, None).await;
            stage.until("the end", || stage.state(job).is_terminal()).await;
            let record = stage.record(job);
            let code = match &record.state {
                JobState::Failed { failure } => Some(failure.code),
                _ => None,
            };
            assert_eq!(code, lost.then_some(FailureCode::ProviderLost));
            let waited = record.finished_at.expect("it is finished").since(record.created_at);
            assert!(waited >= secs(170), "it ended after {waited:?}");
            stage.end().await;
        });
    }
}

#[test]
fn ten_thousand_polls_without_news_write_nothing() {
    with_rules(async {
        let options = Options { poll_ceiling: secs(2), ..Options::scripted(Class::ByRef) };
        let stage = Stage::begin(options).await;
        let world = stage.world.clone();
        world.vendor.plan(Plan { render: Some(secs(30_000)), silent: true, ..Plan::default() });
        let job = stage.create(0, 0, None).await;
        stage.until_state(job, StateName::Running).await;
        let (commits, calls) = (world.database.commits(), world.vendor.calls());
        pause(secs(25_000)).await;
        assert!(world.vendor.calls() >= calls + 10_000, "only {} polls", world.vendor.calls() - calls);
        assert_eq!(world.database.commits(), commits);
        stage.until_state(job, StateName::Completed).await;
        stage.end().await;
    });
}

#[test]
fn c19_a_shutdown_waits_for_answers_and_hands_everything_over() {
    with_rules(async {
        let stage = Stage::begin(Options { jobs: 3, ..Options::scripted(Class::Nothing) }).await;
        let world = stage.world.clone();
        world.vendor.script(&[Fate::Slow(10), Fate::Slow(10), Fate::Slow(10)]);
        let mut jobs = Vec::new();
        for number in 0..3 {
            jobs.push(stage.create(number, 0, None).await);
        }
        let submitting = || jobs.iter().all(|job| stage.state(*job) == StateName::Submitting);
        stage.until("three sends", submitting).await;
        pause(secs(1)).await;
        world.drain(0).await;
        assert_eq!(world.vendor.bills().len(), 3);
        for (_, attempt) in world.database.rows.attempts() {
            assert_eq!(attempt.state, AttemptState::Accepted, "its evidence is recorded before the end");
        }
        assert!(world.database.rows.work().iter().all(|(_, row)| row.owner.is_none()), "everything is handed over");
        world.start(0).await;
        for job in &jobs {
            stage.until_state(*job, StateName::Completed).await;
        }
        let world = stage.end().await;
        assert!(jobs.iter().all(|job| !told(&world, *job).contains(&EventKind::Verifying)));
    });
}

#[test]
fn a_retry_after_a_late_accept_keeps_both_on_the_books() {
    with_rules(async {
        let stage = Stage::begin(Options { can_cancel: false, ..Options::scripted(Class::ByRef) }).await;
        let world = stage.world.clone();
        world.vendor.plan(Plan { render: Some(secs(400)), ..Plan::default() });
        let job = stage.create(0, 0, None).await;
        stage.until_state(job, StateName::Running).await;
        stage.cancel(job).await;
        stage.until_state(job, StateName::Canceled).await;
        let retried = world.front_door().retry(world.project, job, "client".into(), world.pools[0]).await;
        assert!(retried.is_ok());
        stage.until_state(job, StateName::Completed).await;
        let world = stage.end().await;
        assert_eq!(attempts(&world, job), [AttemptState::Done, AttemptState::Done]);
        assert_eq!(told(&world, job).iter().filter(|kind| **kind == EventKind::LateResult).count(), 1);
    });
}

/// Who is told of news is told once: a look that breaks off behind that, or whose answer is lost, must not lose them.
#[test]
fn news_survive_a_look_that_fails() {
    for (call, trap) in [("woken", Trap::UnknownApplied), ("acquire", Trap::UnknownLost)] {
        with_rules(async {
            let stage = Stage::begin(Options::scripted(Class::Nothing)).await;
            // Nothing else would have it read again.
            stage.world.vendor.plan(Plan { render: Some(secs(3_600)), silent: true, ..Plan::default() });
            let job = stage.create(0, 0, None).await;
            stage.until_state(job, StateName::Running).await;
            pause(secs(60)).await;
            stage.world.database.set_trap(call, trap);
            stage.cancel(job).await;
            pause(secs(60)).await;
            assert!(!stage.world.database.has_trap(), "{call}");
            assert_eq!(stage.state(job), StateName::Canceled, "{call}");
            stage.end().await;
        });
    }
}
