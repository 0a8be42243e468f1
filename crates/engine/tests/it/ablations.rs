//! Each rule R1 to R10 switched off: the simulation must notice, or it is blind.
//!
//! A rule is off for the whole process, so these runs exclude all others (`runs::run_without`).

use longtake_core::ablation::Rule;
use longtake_engine::OnUnknown;

use crate::runs::run_without;
use crate::sim::clock::secs;
use crate::sim::faults::{Fault, FaultSet};
use crate::sim::options::{Class, Options};

/// Seeds within which a missing rule must show.
const SEEDS: u64 = 40;

/// Runs seeds without the rule until an invariant breaks whose text has `shows` in it.
fn must_break(rule: Rule, class: Class, faults: &[Fault], shows: &str) {
    must_break_where(rule, class, faults, shows, |options| options);
}

fn must_break_where(rule: Rule, class: Class, faults: &[Fault], shows: &str, change: fn(Options) -> Options) {
    let set = faults.iter().fold(FaultSet::NONE, |set, fault| set.with(*fault));
    for seed in 1..=SEEDS {
        let options = change(Options { faults: set, ..Options::of_seed(seed, class) });
        let outcome = run_without(rule, &options);
        if let Some(broken) = outcome.violations.iter().find(|violation| violation.contains(shows)) {
            println!("without {rule:?}, seed {seed} of {class:?} breaks after {seed} seeds: {broken}");
            return;
        }
        assert!(
            outcome.violations.is_empty(),
            "without {rule:?}, seed {seed} breaks otherwise: {:?}",
            outcome.violations
        );
    }
    panic!("{SEEDS} seeds without {rule:?} and nothing breaks: the simulation is blind to it");
}

#[test]
fn ablation_r1_a_send_before_its_intent_is_noticed() {
    must_break(Rule::R1, Class::Nothing, &[Fault::Crash], "I3");
}

#[test]
fn ablation_r2_a_send_on_an_unconfirmed_intent_is_noticed() {
    must_break(Rule::R2, Class::Nothing, &[Fault::CommitUnknown], "I3");
}

#[test]
fn ablation_r3_a_second_send_of_one_intent_is_noticed() {
    must_break(Rule::R3, Class::Nothing, &[Fault::DropAnswer, Fault::ServerError], "billed twice");
}

#[test]
fn ablation_r4_a_send_by_the_next_owner_is_noticed() {
    must_break(Rule::R4, Class::Nothing, &[Fault::Crash, Fault::FreezeAtSend], "billed twice");
}

#[test]
fn ablation_r5_evidence_refused_to_a_former_owner_is_noticed() {
    // The job ends while its first sender is stopped: what that one then hears must not be lost.
    must_break_where(Rule::R5, Class::Nothing, &[Fault::Freeze, Fault::FreezeAtSend], "I4", |options| Options {
        on_unknown: OnUnknown::Fail,
        verify_deadline: secs(20),
        ..options
    });
}

#[test]
fn ablation_r6_submissions_without_a_name_of_their_own_are_noticed() {
    must_break(Rule::R6, Class::ByRef, &[Fault::DropAnswer], "I3");
}

#[test]
fn ablation_r7_silence_taken_for_absence_at_once_is_noticed() {
    must_break(Rule::R7, Class::ByRef, &[Fault::LateAccept, Fault::ListingLag, Fault::DropAnswer], "I4");
}

#[test]
fn ablation_r8_another_key_for_the_same_purchase_is_noticed() {
    must_break(Rule::R8, Class::Key, &[Fault::DropAnswer, Fault::ServerError], "I3");
}

#[test]
fn ablation_r9_unknown_taken_for_not_accepted_is_noticed() {
    must_break(Rule::R9, Class::Nothing, &[Fault::DropAnswer, Fault::ServerError], "I4");
}

#[test]
fn ablation_r10_a_send_after_its_time_is_noticed() {
    // A process must stop just as its intent commits: more of them, and nothing that keeps jobs waiting.
    must_break_where(Rule::R10, Class::Nothing, &[Fault::Freeze, Fault::SlowStore], "R10", |options| Options {
        jobs: 40,
        max_in_flight: None,
        per_minute: None,
        ..options
    });
}
