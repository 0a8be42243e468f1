//! Cases: events, steps in batches, listeners, the timeline.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use longtake_core::apply::Input;
use longtake_core::event::EventKind;
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::AttemptNo;
use longtake_core::provider::Exchange;
use longtake_core::state::StateName;
use longtake_core::store::{EvidenceRecord, Place, StepCommit, StepInput, StepResult};

use crate::given::{ACCOUNT, BUDGET, Given, PROJECT, accepted, evidence_of, output, wanted};

fn exchange(call: &'static str, given: &Given) -> Exchange {
    Exchange {
        call,
        at: given.now(),
        request: "POST https://provider.example/v1/videos".into(),
        status: Some(202),
        duration_ms: 120,
        answer: r#"{"id":"p-1"}"#.into(),
    }
}

pub async fn events_are_dense_and_in_order(given: &Given) {
    let executor = given.executor().await;
    let claim = given.completed(executor, "p-1").await;
    let events = given.store.events_after(claim.work.job, 0, 100).await.unwrap();
    let seen: Vec<_> = events.iter().map(|event| (event.ver, event.kind)).collect();
    let kinds =
        [EventKind::Queued, EventKind::Submitted, EventKind::InProgress, EventKind::Storing, EventKind::Completed];
    assert_eq!(seen, (1..).zip(kinds).collect::<Vec<_>>());
    let middle = given.store.events_after(claim.work.job, 2, 2).await.unwrap();
    assert_eq!(middle, events[2..4]);
    assert!(given.store.events_after(claim.work.job, 5, 100).await.unwrap().is_empty());
}

pub async fn a_snapshot_shows_the_moment_of_its_event(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.running(executor, "p-1").await;
    given.step(executor, &mut claim, Input::Progress(40)).await;
    given.clock.advance(Duration::from_secs(3));
    let failure = Failure::new(FailureCode::ContentPolicy, "the provider's rules refused it");
    let input = Input::ProviderFailed(failure.clone(), longtake_core::attempt::Retry::Never, BUDGET);
    given.step(executor, &mut claim, input).await;
    let events = given.store.events_after(claim.work.job, 2, 100).await.unwrap();
    let [running, progress, failed] = &events[..] else { panic!("{events:?}") };
    assert_eq!((running.snapshot.state, running.snapshot.progress), (StateName::Running, 0));
    assert_eq!((progress.snapshot.state, progress.snapshot.progress), (StateName::Running, 40));
    assert_eq!(progress.snapshot.attempt, Some((AttemptNo(1), ACCOUNT)));
    assert_eq!(failed.snapshot.failure, Some(failure));
    assert_eq!((failed.at, failed.snapshot.finished_at), (given.now(), Some(given.now())));
    assert_eq!(failed.snapshot, claim.record.snapshot(None));
}

pub async fn listeners_hear_of_every_event_and_of_woken_work(given: &Given) {
    let heard = Arc::new(Mutex::new((Vec::new(), 0)));
    let ear = Arc::clone(&heard);
    given.store.on_commit(Arc::new(move |events, woken| {
        let mut heard = ear.lock().unwrap();
        heard.0.extend_from_slice(events);
        heard.1 += usize::from(woken);
    }));
    let executor = given.executor().await;
    let job = given.queued().await;
    assert_eq!(*heard.lock().unwrap(), (vec![(job, 1)], 1), "new work is told");
    let mut claim = given.acquire(executor).await;
    given.open(executor, &mut claim).await;
    assert_eq!(*heard.lock().unwrap(), (vec![(job, 1), (job, 2)], 1), "the owner knows its own step");
    given.testify(&claim, accepted("p-1")).await;
    assert_eq!(heard.lock().unwrap().1, 2, "evidence is told");
    given.store.request_cancel(PROJECT, job).await.unwrap();
    assert_eq!(heard.lock().unwrap().0.len(), 2, "a cancel is no event");
}

pub async fn a_conflict_writes_nothing(given: &Given) {
    let executor = given.executor().await;
    let claim = given.running(executor, "p-1").await;
    let answer = given.try_step(executor, &claim, StepInput::Job(Input::VerifyExpired)).await;
    assert_eq!(answer, StepResult::Conflict(claim.record.clone(), None));
    assert_eq!(given.record(claim.work.job).await, claim.record);
    assert_eq!(given.store.events_after(claim.work.job, claim.record.ver, 10).await.unwrap(), []);
}

pub async fn a_stale_step_in_a_batch_hinders_no_other(given: &Given) {
    let executor = given.executor().await;
    let one = given.running(executor, "p-1").await;
    let two = given.running(executor, "p-2").await;
    let commit = |claim: &longtake_core::store::Claim, fence| StepCommit {
        work: claim.work,
        fence,
        input: StepInput::Job(Input::Progress(10)),
        exchanges: Vec::new(),
        release: Some((given.now() + Duration::from_secs(5), Place::default())),
    };
    let old = longtake_core::id::Fence(one.fence.0 - 1);
    let answers = given.store.step(executor, vec![commit(&one, old), commit(&two, two.fence)]).await.unwrap();
    assert_eq!(answers[0], StepResult::Stale);
    assert!(matches!(&answers[1], StepResult::Applied(record) if record.progress == Some(10)), "{answers:?}");
    assert_eq!(given.record(one.work.job).await.progress, None);
    assert_eq!(given.store.owned(executor).await.unwrap(), vec![(one.work, one.fence)], "the other was given back");
    assert!(given.store.acquire(executor, &wanted(10)).await.unwrap().is_empty());
    given.clock.advance(Duration::from_secs(5));
    assert_eq!(given.acquire(executor).await.work, two.work);
}

pub async fn a_timeline_shows_attempts_events_and_exchanges(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.submitting(executor).await;
    let sent = EvidenceRecord {
        exchanges: vec![exchange("submit", given)],
        ..evidence_of(claim.work.job, AttemptNo(1), accepted("p-1"))
    };
    given.store.record_evidence(vec![sent.clone()]).await.unwrap();
    given.store.record_evidence(vec![sent]).await.unwrap();
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    given.step(executor, &mut claim, Input::ProviderDone).await;
    let commit = StepCommit {
        work: claim.work,
        fence: claim.fence,
        input: StepInput::Job(Input::Stored(vec![output(&claim)])),
        exchanges: vec![exchange("fetch", given)],
        release: None,
    };
    given.store.step(executor, vec![commit]).await.unwrap();
    let timeline = given.store.timeline(PROJECT, claim.work.job).await.unwrap().unwrap();
    assert_eq!(timeline.attempts, vec![given.attempt(claim.work.job, 1).await]);
    assert_eq!(timeline.events, given.store.events_after(claim.work.job, 0, 100).await.unwrap());
    let calls: Vec<_> = timeline.exchanges.iter().map(|(n, exchange)| (n.0, exchange.call)).collect();
    assert_eq!(calls, [(1, "submit"), (1, "fetch")], "what proves nothing new is not kept");
    assert_eq!(timeline.exchanges[0].1, exchange("submit", given));
    assert_eq!(timeline.job, given.store.get(PROJECT, claim.work.job).await.unwrap().unwrap());
}
