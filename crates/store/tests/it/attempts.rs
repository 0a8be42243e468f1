//! Cases: intents, evidence, late attempts.

use std::time::Duration;

use longtake_core::apply::{Input, LateInput};
use longtake_core::attempt::{AttemptState, Evidence, Retry, Sender};
use longtake_core::event::EventKind;
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AttemptNo, Nonce, ProviderJobId};
use longtake_core::limits::AttemptLimits;
use longtake_core::provider::Exchange;
use longtake_core::record::CancelOutcome;
use longtake_core::state::{JobState, StateName};
use longtake_core::store::{Claim, EvidenceRecord, OpenAttempt, OpenResult, StepInput, StepResult, Wake, WorkKind};
use longtake_core::time::Timestamp;

use crate::given::{ACCOUNT, BUDGET, Given, PROJECT, accepted, evidence_of, output, rejected, released, slots, wanted};

fn named(text: &str) -> ProviderJobId {
    ProviderJobId::new(text).unwrap()
}

fn at_most(limit: u32) -> AttemptLimits {
    AttemptLimits { account: slots(limit), ..AttemptLimits::default() }
}

pub async fn an_intent_is_durable_and_moves_the_job(given: &Given) {
    given.queued().await;
    let executor = given.executor().await;
    let claim = given.acquire(executor).await;
    let intent = given.intent(executor, &claim);
    let opened = given.store.open_attempts(executor, vec![intent.clone()]).await.unwrap().remove(0);
    let OpenResult::Opened(record) = opened else { panic!("{opened:?}") };
    assert_eq!(record.state, JobState::Submitting { attempt: AttemptNo(1) });
    assert_eq!(record.attempt, Some(intent.attempt.clone()));
    assert_eq!(given.attempt(claim.work.job, 1).await, intent.attempt);
    assert_eq!(given.record(claim.work.job).await, record);
    let events = given.store.events_after(claim.work.job, 1, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Submitted]);
}

pub async fn a_second_open_attempt_is_refused(given: &Given) {
    let executor = given.executor().await;
    let claim = given.submitting(executor).await;
    let second = given.intent(executor, &claim);
    let refused = given.store.open_attempts(executor, vec![second]).await.unwrap().remove(0);
    assert_eq!(refused, OpenResult::Conflict(claim.record.clone()));
    assert_eq!(given.record(claim.work.job).await, claim.record);
}

pub async fn an_intent_under_an_old_fence_is_stale(given: &Given) {
    given.queued().await;
    let (one, two) = (given.executor().await, given.executor().await);
    let old = given.acquire(one).await;
    given.store.release(one, vec![released(&old, given.now())]).await.unwrap();
    given.acquire(two).await;
    let intent = given.intent(one, &old);
    assert_eq!(given.store.open_attempts(one, vec![intent]).await.unwrap(), vec![OpenResult::Stale]);
}

pub async fn an_account_takes_no_more_than_its_limit(given: &Given) {
    let executor = given.executor().await;
    let mut first = given.running(executor, "p-1").await;
    given.queued().await;
    let second = given.acquire(executor).await;
    let limited = OpenAttempt { limits: at_most(1), ..given.intent(executor, &second) };
    let full = given.store.open_attempts(executor, vec![limited.clone()]).await.unwrap();
    assert_eq!((full, given.store.in_flight(ACCOUNT).await.unwrap()), (vec![OpenResult::AccountFull], 1));
    given.step(executor, &mut first, Input::ProviderDone).await;
    let stored = output(&first);
    given.step(executor, &mut first, Input::Stored(vec![stored])).await;
    let opened = given.store.open_attempts(executor, vec![limited]).await.unwrap();
    assert!(matches!(opened[..], [OpenResult::Opened(_)]), "{opened:?}");
}

pub async fn a_limit_counts_within_one_call(given: &Given) {
    for _ in 0..4 {
        given.queued().await;
    }
    let executor = given.executor().await;
    let claims = given.store.acquire(executor, &wanted(10)).await.unwrap();
    let intents = claims.iter().zip([2, 2, 2, 3]);
    let intents = intents.map(|(claim, n)| OpenAttempt { limits: at_most(n), ..given.intent(executor, claim) });
    let answers = given.store.open_attempts(executor, intents.collect()).await.unwrap();
    let opened: Vec<bool> = answers.iter().map(|answer| matches!(answer, OpenResult::Opened(_))).collect();
    assert_eq!(opened, [true, true, false, true], "{answers:?}");
}

pub async fn late_attempts_count_until_they_are_settled(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.running(executor, "p-1").await;
    given.store.request_cancel(PROJECT, claim.work.job).await.unwrap();
    claim.record = given.record(claim.work.job).await;
    given.step(executor, &mut claim, Input::Canceled(CancelOutcome::NotStoppable)).await;
    assert_eq!(given.store.in_flight(ACCOUNT).await.unwrap(), 1);
    let watch = given.acquire(executor).await;
    given.step_late(executor, &watch, LateInput::Ended).await;
    assert_eq!(given.store.in_flight(ACCOUNT).await.unwrap(), 0);
}

pub async fn evidence_is_idempotent_and_only_moves_up(given: &Given) {
    let executor = given.executor().await;
    let claim = given.submitting(executor).await;
    given.testify(&claim, Evidence::Unknown).await;
    assert_eq!(given.attempt(claim.work.job, 1).await.state, AttemptState::Unknown);
    given.testify(&claim, accepted("p-1")).await;
    let known = given.attempt(claim.work.job, 1).await;
    assert_eq!((known.state, known.provider_job.clone()), (AttemptState::Accepted, Some(named("p-1"))));
    given.clock.advance(Duration::from_secs(1));
    for weaker in [Evidence::Unknown, rejected(Retry::Never), accepted("p-1")] {
        given.testify(&claim, weaker).await;
        assert_eq!(given.attempt(claim.work.job, 1).await, known);
    }
    let nobody = evidence_of(given.new_job().job, AttemptNo(1), Evidence::Unknown);
    given.store.record_evidence(vec![nobody]).await.unwrap();
}

pub async fn evidence_of_another_execution_is_ignored(given: &Given) {
    let executor = given.executor().await;
    let claim = given.submitting(executor).await;
    let other = EvidenceRecord {
        nonce: Some(Nonce(-1)),
        ..evidence_of(claim.work.job, AttemptNo(1), rejected(Retry::Counted))
    };
    given.store.record_evidence(vec![other]).await.unwrap();
    assert_eq!(given.attempt(claim.work.job, 1).await.state, AttemptState::Intent);
}

pub async fn a_second_provider_job_is_an_orphan(given: &Given) {
    let executor = given.executor().await;
    let claim = given.running(executor, "p-1").await;
    for _ in 0..2 {
        given.testify(&claim, accepted("p-2")).await;
    }
    assert_eq!(given.attempt(claim.work.job, 1).await.provider_job, Some(named("p-1")));
    assert_eq!(given.store.stats().await.unwrap().orphans, 1);
    let asked = vec![named("p-1"), named("p-2"), named("p-3")];
    assert_eq!(given.store.claimed(ACCOUNT, asked).await.unwrap(), [true, true, false]);
}

pub async fn what_resembles_an_attempt_that_has_its_job_is_left_to_others(given: &Given) {
    let executor = given.executor().await;
    let (claim, other) = (given.running(executor, "p-1").await, given.submitting(executor).await);
    let found = |claim: &Claim| EvidenceRecord {
        by_resemblance: true,
        ..evidence_of(claim.work.job, AttemptNo(1), accepted("p-2"))
    };
    given.store.record_evidence(vec![found(&claim)]).await.unwrap();
    assert_eq!(given.attempt(claim.work.job, 1).await.provider_job, Some(named("p-1")));
    assert_eq!(given.store.stats().await.unwrap().orphans, 0);
    assert_eq!(given.store.claimed(ACCOUNT, vec![named("p-2")]).await.unwrap(), [false]);
    given.store.record_evidence(vec![found(&other)]).await.unwrap();
    let adopted = given.attempt(other.work.job, 1).await;
    assert_eq!((adopted.state, adopted.provider_job), (AttemptState::Accepted, Some(named("p-2"))));
}

pub async fn one_provider_job_serves_one_attempt(given: &Given) {
    let executor = given.executor().await;
    given.running(executor, "p-1").await;
    let sender = given.submitting(executor).await;
    // Anyone else may be mistaken, or mean harm.
    given.testify(&sender, accepted("p-1")).await;
    assert_eq!(given.attempt(sender.work.job, 1).await.state, AttemptState::Intent);
    given.store.record_evidence(vec![by_its_sender(&sender, None, accepted("p-1"))]).await.unwrap();
    let known = given.attempt(sender.work.job, 1).await;
    assert_eq!((known.state, known.provider_job), (AttemptState::NotAccepted, None));
}

/// What a provider tells by itself: an attempt of a claim is its job.
fn called_back(claim: &Claim, provider_job: &str) -> EvidenceRecord {
    let exchange = Exchange {
        call: "callback",
        at: Timestamp::from_micros(7),
        request: "POST /callbacks/simulated/[token]".into(),
        status: Some(200),
        duration_ms: 1,
        answer: "{}".into(),
    };
    let attempt = claim.record.attempt.as_ref().unwrap().n;
    let said = evidence_of(claim.work.job, attempt, accepted(provider_job));
    EvidenceRecord { wake: Wake::OwnerAlways, exchanges: vec![exchange], ..said }
}

pub async fn news_of_a_known_job_wake_its_owner_each_time(given: &Given) {
    let executor = given.executor().await;
    let claim = given.running(executor, "p-1").await;
    let (known, ver) = (given.attempt(claim.work.job, 1).await, claim.record.ver);
    assert!(given.store.woken(executor, 10).await.unwrap().is_empty());
    let exchanges = async || given.store.timeline(PROJECT, claim.work.job).await.unwrap().unwrap().exchanges;
    let before = exchanges().await.len();
    for round in 1..=2 {
        given.store.record_evidence(vec![called_back(&claim, "p-1")]).await.unwrap();
        let told = given.store.woken(executor, 10).await.unwrap();
        assert_eq!((told.len(), told[0].work, told[0].record.ver), (1, claim.work, ver), "nothing is decided by it");
        let kept = exchanges().await;
        assert_eq!((kept.len(), kept.last().unwrap().1.call), (before + round, "callback"));
    }
    assert_eq!(given.attempt(claim.work.job, 1).await, known);
    // What was known and says nothing new wakes nobody and is not kept.
    given.testify(&claim, accepted("p-1")).await;
    assert!(given.store.woken(executor, 10).await.unwrap().is_empty());
    assert_eq!(exchanges().await.len(), before + 2);
}

pub async fn news_of_another_or_a_closed_job_wake_nobody(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.running(executor, "p-1").await;
    let first = claim.clone();
    let failure = Failure::new(FailureCode::ProviderError, "it failed there");
    given.step(executor, &mut claim, Input::ProviderFailed(failure, Retry::Counted, BUDGET)).await;
    assert_eq!(claim.record.state, JobState::Queued);
    given.store.record_evidence(vec![called_back(&first, "p-1")]).await.unwrap();
    assert!(given.store.woken(executor, 10).await.unwrap().is_empty(), "its next attempt waits as long as it shall");
    let other = given.running(executor, "p-2").await;
    let sender = given.submitting(executor).await;
    given.store.record_evidence(vec![called_back(&sender, "p-2")]).await.unwrap();
    assert_eq!(given.attempt(sender.work.job, 1).await.state, AttemptState::Intent, "that job is another's");
    assert!(given.store.woken(executor, 10).await.unwrap().is_empty());
    assert_eq!(given.attempt(other.work.job, 1).await.state, AttemptState::Accepted);
}

pub async fn a_callback_finds_what_was_lost(given: &Given) {
    let executor = given.executor().await;
    let mut verifying = given.submitting(executor).await;
    given.step(executor, &mut verifying, Input::TakenOver).await;
    let mut held = given.held(executor).await;
    for (claim, name) in [(&mut verifying, "p-1"), (&mut held, "p-2")] {
        given.store.record_evidence(vec![called_back(claim, name)]).await.unwrap();
        assert_eq!(given.store.woken(executor, 10).await.unwrap().len(), 1, "{name}");
        given.step(executor, claim, Input::Fold(BUDGET)).await;
        assert_eq!(claim.record.state.name(), StateName::Running, "{name}");
    }
}

pub async fn a_rejection_is_kept_whole(given: &Given) {
    let executor = given.executor().await;
    let claim = given.submitting(executor).await;
    given.testify(&claim, rejected(Retry::NextRoute)).await;
    let Evidence::NotAccepted(rejection) = rejected(Retry::NextRoute) else { unreachable!() };
    assert_eq!(given.attempt(claim.work.job, 1).await.rejection, Some(Box::new(rejection)));
}

pub async fn a_late_acceptance_revives_a_live_job(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.submitting(executor).await;
    given.testify(&claim, rejected(Retry::Counted)).await;
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    assert_eq!(claim.record.state, JobState::Queued);
    given.testify(&claim, accepted("p-1")).await;
    let intent = given.intent(executor, &claim);
    let refused = given.store.open_attempts(executor, vec![intent]).await.unwrap().remove(0);
    assert!(matches!(refused, OpenResult::Conflict(record) if record.has_news()), "it would buy twice");
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    assert_eq!(claim.record.state.name(), StateName::Running);
}

pub async fn a_late_acceptance_of_a_finished_job_is_watched(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.submitting(executor).await;
    given.testify(&claim, rejected(Retry::Never)).await;
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    assert!(given.store.acquire(executor, &wanted(10)).await.unwrap().is_empty());
    given.testify(&claim, accepted("p-1")).await;
    let watch = given.acquire(executor).await;
    assert_eq!((watch.work.kind, watch.work.reference), (WorkKind::Watch, 1));
    assert_eq!(watch.late.map(|late| late.state), Some(AttemptState::LateAccepted));
    assert!(watch.fence > claim.fence, "fences grow across kinds of work");
}

pub async fn a_late_result_is_announced_once(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.submitting(executor).await;
    given.testify(&claim, rejected(Retry::Never)).await;
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    given.testify(&claim, accepted("p-1")).await;
    let watch = given.acquire(executor).await;
    let stored = LateInput::Stored(vec![output(&watch)]);
    let record = given.step_late(executor, &watch, stored.clone()).await;
    assert_eq!((record.ver, record.state.name()), (claim.record.ver + 1, StateName::Failed));
    assert_eq!(given.try_step(executor, &watch, StepInput::Late(stored)).await, StepResult::Stale);
    let job = given.store.get(PROJECT, claim.work.job).await.unwrap().unwrap();
    assert_eq!((job.record, job.output), (record.clone(), Some(output(&watch))));
    let last = given.store.events_after(claim.work.job, record.ver - 1, 10).await.unwrap();
    assert_eq!((last.len(), last[0].kind), (1, EventKind::LateResult));
    assert_eq!(last[0].snapshot.output, Some((1_234, output(&watch).sha256)));
}

pub async fn a_watch_limit_leaves_an_orphan(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.submitting(executor).await;
    given.testify(&claim, rejected(Retry::Never)).await;
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    given.testify(&claim, accepted("p-1")).await;
    let watch = given.acquire(executor).await;
    given.step_late(executor, &watch, LateInput::LimitPassed).await;
    let stats = given.store.stats().await.unwrap();
    assert_eq!((stats.watched, stats.orphans), (0, 1));
    assert_eq!(given.store.in_flight(ACCOUNT).await.unwrap(), 0);
}

/// Evidence by the execution that wrote the intent of this claim.
fn by_its_sender(claim: &Claim, nonce: Option<Nonce>, evidence: Evidence) -> EvidenceRecord {
    let attempt = claim.record.attempt.as_ref().unwrap();
    let ended = Some(attempt.sender());
    EvidenceRecord { nonce, ended, wake: Wake::Others, ..evidence_of(claim.work.job, attempt.n, evidence) }
}

pub async fn the_senders_word_that_its_request_ended_is_durable(given: &Given) {
    let executor = given.executor().await;
    let claim = given.submitting(executor).await;
    let said = by_its_sender(&claim, None, Evidence::Unknown);
    given.store.record_evidence(vec![said.clone()]).await.unwrap();
    let known = given.attempt(claim.work.job, 1).await;
    assert_eq!((known.state, known.request_ended_at), (AttemptState::Unknown, Some(given.now())));
    assert_eq!(given.record(claim.work.job).await.attempt, Some(known.clone()));
    assert_eq!(given.store.claims(executor, vec![claim.work]).await.unwrap()[0].record.attempt, Some(known.clone()));
    given.clock.advance(Duration::from_secs(1));
    given.store.record_evidence(vec![said]).await.unwrap();
    assert_eq!(given.attempt(claim.work.job, 1).await, known, "the first time counts");
}

pub async fn nobody_says_for_another_that_its_request_ended(given: &Given) {
    let (executor, other) = (given.executor().await, given.executor().await);
    let mut claim = given.submitting(executor).await;
    let own = claim.record.attempt.as_ref().unwrap().sender();
    given.step(executor, &mut claim, Input::TakenOver).await;
    let strangers =
        [None, Some(Sender { executor: other, ..own }), Some(Sender { nonce: Nonce(own.nonce.0 + 1), ..own })];
    for ended in strangers {
        let said = EvidenceRecord { ended, ..evidence_of(claim.work.job, AttemptNo(1), Evidence::Unknown) };
        given.store.record_evidence(vec![said]).await.unwrap();
    }
    let known = given.attempt(claim.work.job, 1).await;
    assert_eq!((known.state, known.request_ended_at), (AttemptState::Unknown, None));
}

pub async fn the_senders_word_comes_late_and_wakes_the_owner(given: &Given) {
    let (executor, other) = (given.executor().await, given.executor().await);
    let mut claim = given.submitting(executor).await;
    let said = by_its_sender(&claim, None, Evidence::Unknown);
    given.store.release(executor, vec![released(&claim, given.now())]).await.unwrap();
    let owner = given.acquire(other).await;
    claim = Claim { fence: owner.fence, ..claim };
    given.step(other, &mut claim, Input::TakenOver).await;
    assert!(given.store.woken(other, 10).await.unwrap().is_empty());
    given.store.record_evidence(vec![said]).await.unwrap();
    let told = given.store.woken(other, 10).await.unwrap();
    assert_eq!(told.len(), 1, "its owner waits for this");
    assert_eq!(told[0].record.attempt.as_ref().unwrap().request_ended_at, Some(given.now()));
    assert_eq!(told[0].record.state.name(), StateName::Verifying);
    // What is decided afterwards keeps it.
    given.step(other, &mut claim, Input::VerifyExpired).await;
    assert_eq!(given.attempt(claim.work.job, 1).await.request_ended_at, Some(given.now()));
}

pub async fn a_refusal_too_late_to_count_still_says_that_the_request_ended(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.submitting(executor).await;
    let nonce = claim.record.attempt.as_ref().map(|attempt| attempt.nonce);
    given.step(executor, &mut claim, Input::TakenOver).await;
    let said = by_its_sender(&claim, nonce, rejected(Retry::Never));
    given.store.record_evidence(vec![said]).await.unwrap();
    let known = given.attempt(claim.work.job, 1).await;
    assert_eq!((known.state, known.rejection), (AttemptState::Unknown, None), "a successor may have sent it again");
    assert_eq!(known.request_ended_at, Some(given.now()));
}

pub async fn a_late_attempt_shows_that_its_request_ended(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.held(executor).await;
    let said = by_its_sender(&claim, None, Evidence::Unknown);
    given.store.request_cancel(PROJECT, claim.work.job).await.unwrap();
    claim.record = given.record(claim.work.job).await;
    given.step(executor, &mut claim, Input::Canceled(CancelOutcome::NotStoppable)).await;
    let watch = given.acquire(executor).await;
    assert_eq!(watch.late.as_ref().unwrap().request_ended_at, None);
    given.store.record_evidence(vec![said]).await.unwrap();
    let seen = given.store.claims(executor, vec![watch.work]).await.unwrap().remove(0);
    assert_eq!(seen.late.unwrap().request_ended_at, Some(given.now()));
}

pub async fn an_intent_of_lost_history_has_no_sender(given: &Given) {
    let executor = given.executor().await;
    given.queued().await;
    let claim = given.acquire(executor).await;
    given.clock.advance(Duration::from_secs(1));
    given.store.set_quarantine().await.unwrap();
    let intent = given.intent(executor, &claim);
    // Whoever meant to open it does not know whether it was doubted, and says that it sent nothing.
    let said = EvidenceRecord {
        nonce: Some(intent.attempt.nonce),
        ended: Some(intent.attempt.sender()),
        ..evidence_of(claim.work.job, intent.attempt.n, rejected(Retry::Free))
    };
    let doubted = given.store.open_attempts(executor, vec![intent]).await.unwrap();
    assert!(matches!(doubted[..], [OpenResult::Doubted(_)]), "{doubted:?}");
    given.store.record_evidence(vec![said]).await.unwrap();
    let known = given.attempt(claim.work.job, 1).await;
    assert_eq!((known.state, known.request_ended_at), (AttemptState::Unknown, None));
}
