//! Cases: who owns what, and what that allows.

use std::time::Duration;

use longtake_core::apply::Input;
use longtake_core::attempt::{AttemptState, Retry};
use longtake_core::id::{ExecutorId, PoolId};
use longtake_core::store::{Beat, EvidenceRecord, StepInput, StepResult, Wake, WorkKey};
use longtake_core::time::Timestamp;

use crate::given::{BUDGET, Given, accepted, evidence_of, rejected, released, wanted};

pub async fn acquire_takes_what_is_due_in_order_and_once(given: &Given) {
    let jobs = [given.queued().await, given.queued().await, given.queued().await];
    let executor = given.executor().await;
    assert_eq!(given.store.beat(executor, Vec::new()).await.unwrap(), Beat::Alive(Vec::new()));
    let first = given.store.acquire(executor, &wanted(2)).await.unwrap();
    let rest = given.store.acquire(executor, &wanted(10)).await.unwrap();
    let taken: Vec<_> = first.iter().chain(&rest).map(|claim| claim.work.job).collect();
    assert_eq!((first.len(), taken), (2, jobs.to_vec()));
    assert!(given.store.acquire(executor, &wanted(10)).await.unwrap().is_empty());
    let mut owned = given.store.owned(executor).await.unwrap();
    owned.sort_unstable();
    let expected: Vec<_> = first.iter().chain(&rest).map(|claim| (claim.work, claim.fence)).collect();
    assert_eq!(owned, expected);
    let nobody = ExecutorId(executor.0 + 1_000);
    given.queued().await;
    assert!(
        given.store.acquire(nobody, &wanted(10)).await.unwrap().is_empty(),
        "an executor that was never registered"
    );
}

pub async fn a_release_keeps_the_earlier_due_time(given: &Given) {
    given.queued().await;
    let executor = given.executor().await;
    let claim = given.acquire(executor).await;
    let later = given.now() + Duration::from_secs(10);
    given.store.release(executor, vec![released(&claim, later)]).await.unwrap();
    given.clock.advance(Duration::from_micros(9_999_999));
    assert!(given.store.acquire(executor, &wanted(10)).await.unwrap().is_empty());
    given.clock.advance(Duration::from_micros(1));
    let again = given.acquire(executor).await;
    assert!(again.fence > claim.fence);
    given.store.request_cancel(again.record.project, again.work.job).await.unwrap();
    given.store.release(executor, vec![released(&again, Timestamp::NEVER)]).await.unwrap();
    assert!(given.acquire(executor).await.record.cancel_pending(), "woken while it was owned");
}

pub async fn release_of_another_owners_row_changes_nothing(given: &Given) {
    given.queued().await;
    let (one, two) = (given.executor().await, given.executor().await);
    let claim = given.acquire(one).await;
    given.store.release(two, vec![released(&claim, given.now())]).await.unwrap();
    assert!(given.store.acquire(two, &wanted(10)).await.unwrap().is_empty());
    assert_eq!(given.store.owned(one).await.unwrap(), vec![(claim.work, claim.fence)]);
}

pub async fn a_stale_owner_cannot_decide_but_can_testify(given: &Given) {
    let (one, two) = (given.executor().await, given.executor().await);
    let old = given.submitting(one).await;
    given.store.release(one, vec![released(&old, given.now())]).await.unwrap();
    let new = given.acquire(two).await;
    assert!(new.fence > old.fence);
    assert_eq!(given.try_step(one, &old, StepInput::Job(Input::TakenOver)).await, StepResult::Stale);
    given.testify(&old, accepted("p-1")).await;
    assert_eq!(given.attempt(old.work.job, 1).await.state, AttemptState::Accepted);
    let woken = given.store.woken(two, 10).await.unwrap();
    assert_eq!(woken.len(), 1);
    assert!(woken[0].record.has_news());
}

pub async fn woken_tells_each_row_once(given: &Given) {
    let executor = given.executor().await;
    let claim = given.running(executor, "p-1").await;
    assert!(given.store.woken(executor, 10).await.unwrap().is_empty());
    given.store.request_cancel(claim.record.project, claim.work.job).await.unwrap();
    let woken = given.store.woken(executor, 10).await.unwrap();
    assert_eq!((woken.len(), woken[0].fence), (1, claim.fence));
    assert!(woken[0].record.cancel_pending());
    assert!(given.store.woken(executor, 10).await.unwrap().is_empty());
}

pub async fn claims_leave_out_what_is_not_owned(given: &Given) {
    let (one, two) = (given.executor().await, given.executor().await);
    let claim = given.submitting(one).await;
    let unknown = WorkKey::drive(given.new_job().job);
    assert_eq!(given.store.claims(one, vec![unknown, claim.work]).await.unwrap(), vec![claim.clone()]);
    assert!(given.store.claims(two, vec![claim.work]).await.unwrap().is_empty());
}

pub async fn the_owners_own_testimony_does_not_wake_it(given: &Given) {
    let (one, two) = (given.executor().await, given.executor().await);
    let claim = given.submitting(one).await;
    let n = claim.record.attempt.as_ref().unwrap().n;
    let quiet = EvidenceRecord { wake: Wake::Others, ..evidence_of(claim.work.job, n, rejected(Retry::Counted)) };
    given.store.record_evidence(vec![quiet]).await.unwrap();
    assert!(given.store.woken(one, 10).await.unwrap().is_empty());
    // The same from one that lost the job meanwhile does wake its successor.
    given.store.release(one, vec![released(&claim, given.now())]).await.unwrap();
    let taken = given.acquire(two).await;
    let quiet = EvidenceRecord { wake: Wake::Others, ..evidence_of(claim.work.job, n, accepted("p-1")) };
    given.store.record_evidence(vec![quiet]).await.unwrap();
    assert_eq!(given.store.woken(two, 10).await.unwrap()[0].work, taken.work);
}

pub async fn never_is_no_time_but_news_is(given: &Given) {
    let executor = given.executor().await;
    given.queued().await;
    let claim = given.acquire(executor).await;
    given.store.release(executor, vec![released(&claim, Timestamp::NEVER)]).await.unwrap();
    given.clock.advance(Duration::from_secs(1_000_000_000));
    assert!(given.store.acquire(executor, &wanted(10)).await.unwrap().is_empty(), "due never");
    given.store.request_cancel(claim.record.project, claim.work.job).await.unwrap();
    assert_eq!(given.acquire(executor).await.work, claim.work);
}

pub async fn fences_go_on_across_a_retry(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.submitting(executor).await;
    given.testify(&claim, rejected(Retry::Never)).await;
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    given.store.retry(claim.record.project, claim.work.job, "me".into(), PoolId::NONE).await.unwrap();
    let again = given.acquire(executor).await;
    assert!(again.fence > claim.fence);
    assert_eq!(given.try_step(executor, &claim, StepInput::Job(Input::TakenOver)).await, StepResult::Stale);
}
