//! Provider callbacks: they find what was lost, replace polls, and decide nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use longtake_core::attempt::{AttemptState, Evidence};
use longtake_core::event::EventKind;
use longtake_core::failure::FailureCode;
use longtake_core::id::{AttemptNo, JobId, ProviderJobId};
use longtake_core::state::StateName;
use longtake_core::store::{EvidenceRecord, Store, Wake};

use crate::runs::with_rules;
use crate::sim::clock::{pause, secs};
use crate::sim::faults::{Fault, FaultSet};
use crate::sim::options::{Class, Options, POLL_QUIET};
use crate::sim::provider::Fate;
use crate::sim::vendor::Plan;
use crate::stage::{Stage, attempts, told};

fn scripted() -> Options {
    Options::scripted(Class::Callback)
}

/// As a provider tells it.
fn said(job: JobId, provider_job: &str, wake: Wake) -> EvidenceRecord {
    EvidenceRecord {
        job,
        attempt: AttemptNo(1),
        nonce: None,
        ended: None,
        evidence: Evidence::Accepted(ProviderJobId::new(provider_job).expect("a short id")),
        by_resemblance: false,
        exchanges: Vec::new(),
        wake,
    }
}

#[test]
fn a_submission_whose_answer_was_lost_is_found_by_its_callback() {
    for lost in [Fate::CrashAfter, Fate::Dropped, Fate::ServerError, Fate::Late, Fate::Slow(50)] {
        let (made, events, bills) = with_rules(async {
            let stage = Stage::begin(scripted()).await;
            stage.world.vendor.script(&[lost]);
            let job = stage.create(0, 0, None).await;
            if lost == Fate::CrashAfter {
                pause(secs(2)).await;
                stage.world.crash(0);
                stage.world.start(0).await;
            }
            stage.until_state(job, StateName::Completed).await;
            let world = stage.end().await;
            (attempts(&world, job), told(&world, job), world.vendor.bills().len())
        });
        assert_eq!((made, bills), (vec![AttemptState::Done], 1), "{lost:?}");
        assert!(!events.contains(&EventKind::Held), "{lost:?}: {events:?}");
    }
}

#[test]
fn a_held_job_goes_on_with_a_late_callback() {
    with_rules(async {
        let stage = Stage::begin(Options { verify_deadline: secs(30), ..scripted() }).await;
        stage.world.vendor.plan(Plan { render: Some(secs(600)), ..Plan::default() });
        // Accepted more than a minute later, and told then.
        stage.world.vendor.script(&[Fate::Late]);
        let job = stage.create(0, 0, None).await;
        stage.until_state(job, StateName::Held).await;
        stage.until_state(job, StateName::Completed).await;
        let world = stage.end().await;
        assert!(told(&world, job).contains(&EventKind::Resumed));
        assert_eq!((attempts(&world, job), world.vendor.bills().len()), (vec![AttemptState::Done], 1));
    });
}

#[test]
fn silence_of_callbacks_proves_no_absence() {
    with_rules(async {
        let stage = Stage::begin(scripted()).await;
        stage.world.vendor.script(&[Fate::Lost]);
        let job = stage.create(0, 0, None).await;
        stage.until_state(job, StateName::Held).await;
        pause(secs(24 * 3_600)).await;
        assert_eq!((stage.state(job), stage.world.vendor.bills().len()), (StateName::Held, 0));
        stage.world.end();
    });
}

/// Polls of a job that renders for so long.
fn polls(options: Options, render: Duration) -> (u64, Duration) {
    with_rules(async move {
        let stage = Stage::begin(options).await;
        stage.world.vendor.plan(Plan { render: Some(render), silent: true, ..Plan::default() });
        let job = stage.create(0, 0, None).await;
        stage.until_state(job, StateName::Completed).await;
        let polls = stage.world.metrics(0).expect("it runs").polls.load(Ordering::Relaxed);
        let bill = stage.world.vendor.bills()[0].finish_at();
        let done = stage.record(job).finished_at.expect("it is completed").since(bill);
        stage.end().await;
        (polls, done)
    })
}

#[test]
fn polls_are_a_tenth_where_jobs_are_called_back_and_the_end_is_seen_sooner() {
    for minutes in [2, 10, 60] {
        let render = secs(60 * minutes);
        let (without, _) = polls(Options::scripted(Class::Nothing), render);
        let (with, seen_after) = polls(scripted(), render);
        assert!(with * 10 <= without, "{minutes} min: {with} instead of {without}");
        // On the way for at most 0.4 s, then a poll and a copy as slow.
        assert!(seen_after < secs(3), "{minutes} min: seen {seen_after:?} after its end");
    }
}

#[test]
fn a_lost_callback_costs_a_quiet_wait_and_no_more() {
    let faults = FaultSet::NONE.with(Fault::CallbackLost);
    for seed in 1..20 {
        let (_, seen_after) = polls(Options { seed, faults, ..scripted() }, secs(1_000));
        assert!(seen_after < POLL_QUIET + secs(3), "seed {seed}: {seen_after:?}");
    }
}

#[test]
fn a_callback_decides_nothing() {
    with_rules(async {
        let stage = Stage::begin(scripted()).await;
        let world = stage.world.clone();
        world.vendor.plan(Plan { render: Some(secs(200)), ..Plan::default() });
        let job = stage.create(0, 0, None).await;
        stage.until_state(job, StateName::Running).await;
        let polls = || world.metrics(0).expect("it runs").polls.load(Ordering::Relaxed);
        let before = polls();
        for lie in ["p-1", "p-1", "p-77"] {
            world.front_door().record_evidence(vec![said(job, lie, Wake::OwnerAlways)]).await.expect("the store works");
            pause(secs(1)).await;
        }
        assert!(polls() > before, "it is looked at");
        assert_eq!(stage.state(job), StateName::Running);
        stage.until_state(job, StateName::Completed).await;
        let orphans: Vec<_> = world.database.rows.orphans().into_iter().map(|orphan| orphan.provider_job).collect();
        assert_eq!(orphans, [ProviderJobId::new("p-77").expect("a short id")]);
        // Of a job that is over: nothing is left to be done.
        world.front_door().record_evidence(vec![said(job, "p-1", Wake::OwnerAlways)]).await.expect("the store works");
        let world = stage.end().await;
        assert_eq!(attempts(&world, job), [AttemptState::Done]);
    });
}

#[test]
fn what_failed_at_the_provider_is_read_there() {
    with_rules(async {
        let stage = Stage::begin(scripted()).await;
        let failure = Some(FailureCode::ContentPolicy);
        stage.world.vendor.plan(Plan { render: Some(secs(100)), failure, ..Plan::default() });
        let job = stage.create(0, 0, None).await;
        stage.until_state(job, StateName::Failed).await;
        assert!(
            stage.record(job).finished_at.expect("it is over").since(stage.world.vendor.bills()[0].finish_at())
                < secs(3)
        );
        stage.end().await;
    });
}
