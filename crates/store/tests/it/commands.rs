//! Cases: what clients and people ask for, lists, names and keys.

use std::collections::BTreeMap;
use std::time::Duration;

use longtake_core::apply::Input;
use longtake_core::attempt::{AttemptState, Decision, Retry, Verdict};
use longtake_core::id::{JobId, PoolId, ProjectId, ProviderJobId};
use longtake_core::record::CancelOutcome;
use longtake_core::state::{JobState, StateName, Status};
use longtake_core::store::{ApiKey, CommandResult, ListFilter, NewJob, Resolution};

use crate::given::{ACCOUNT, BUDGET, Given, PROJECT, rejected, wanted};

async fn failed(given: &Given, executor: longtake_core::id::ExecutorId) -> JobId {
    let mut claim = given.submitting(executor).await;
    given.testify(&claim, rejected(Retry::Never)).await;
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    claim.work.job
}

async fn page(given: &Given, filter: ListFilter) -> (Vec<JobId>, bool) {
    let page = given.store.list(PROJECT, filter).await.unwrap().unwrap();
    (page.jobs.iter().map(|job| job.record.job).collect(), page.has_more)
}

pub async fn a_cancel_sets_the_flag_and_wakes_the_owner(given: &Given) {
    let executor = given.executor().await;
    let claim = given.running(executor, "p-1").await;
    let CommandResult::Done(job) = given.store.request_cancel(PROJECT, claim.work.job).await.unwrap() else { panic!() };
    assert!(job.record.cancel_pending());
    assert_eq!(job.record.state, claim.record.state, "only the owner changes the state");
    given.clock.advance(Duration::from_secs(1));
    let again = given.store.request_cancel(PROJECT, claim.work.job).await.unwrap();
    assert_eq!(again, CommandResult::Done(job), "the first time counts");
    assert_eq!(given.store.woken(executor, 10).await.unwrap().len(), 1);
}

pub async fn a_cancel_of_a_finished_job_is_too_late(given: &Given) {
    let executor = given.executor().await;
    let job = failed(given, executor).await;
    let CommandResult::Done(seen) = given.store.request_cancel(PROJECT, job).await.unwrap() else { panic!() };
    assert_eq!(seen.record.cancel.unwrap().outcome, CancelOutcome::TooLate);
    assert_eq!(given.record(job).await, seen.record);
    let nobody = given.new_job().job;
    assert_eq!(given.store.request_cancel(PROJECT, nobody).await.unwrap(), CommandResult::NotFound);
}

pub async fn a_decision_is_noted_and_wakes_the_owner(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.held(executor).await;
    let resubmit = Resolution::Decide(Verdict::Resubmit);
    let answer = given.store.resolve_held(PROJECT, claim.work.job, resubmit, "ops".into()).await.unwrap();
    assert!(matches!(answer, CommandResult::Done(_)), "{answer:?}");
    let decided = given.store.woken(executor, 10).await.unwrap().remove(0);
    let decision = Decision { verdict: Verdict::Resubmit, by: "ops".into() };
    assert_eq!(decided.record.attempt.as_ref().unwrap().decision, Some(decision));
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    assert_eq!(claim.record.state, JobState::Queued);
    assert_eq!(given.attempt(claim.work.job, 1).await.state, AttemptState::Waived);
    assert_eq!(given.store.stats().await.unwrap().watched, 1, "it may still be paid");
}

pub async fn a_found_provider_job_is_adopted_unless_another_has_it(given: &Given) {
    let executor = given.executor().await;
    given.running(executor, "p-1").await;
    let claim = given.held(executor).await;
    let adopt = |name: &str| Resolution::Adopt(ProviderJobId::new(name).unwrap());
    let taken = given.store.resolve_held(PROJECT, claim.work.job, adopt("p-1"), "ops".into()).await.unwrap();
    assert!(matches!(taken, CommandResult::Refused(_)), "{taken:?}");
    let found = given.store.resolve_held(PROJECT, claim.work.job, adopt("p-2"), "ops".into()).await.unwrap();
    assert!(matches!(found, CommandResult::Done(job) if job.record.has_news()));
}

pub async fn only_a_held_job_is_resolved(given: &Given) {
    let executor = given.executor().await;
    let claim = given.submitting(executor).await;
    let fail = || Resolution::Decide(Verdict::Fail);
    let answer = given.store.resolve_held(PROJECT, claim.work.job, fail(), "ops".into()).await.unwrap();
    assert!(matches!(answer, CommandResult::Refused(_)), "{answer:?}");
    let nobody = given.new_job().job;
    let answer = given.store.resolve_held(PROJECT, nobody, fail(), "ops".into()).await.unwrap();
    assert_eq!(answer, CommandResult::NotFound);
}

pub async fn a_retry_begins_anew_and_waives_what_is_open(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.held(executor).await;
    given.store.request_cancel(PROJECT, claim.work.job).await.unwrap();
    given.step(executor, &mut claim, Input::Canceled(CancelOutcome::NotStoppable)).await;
    let CommandResult::Done(job) = given.store.retry(PROJECT, claim.work.job, "me".into(), PoolId::NONE).await.unwrap()
    else {
        panic!()
    };
    assert_eq!((job.record.state.name(), job.record.cancel, job.record.attempts_used), (StateName::Queued, None, 0));
    let waived = given.attempt(claim.work.job, 1).await;
    assert_eq!(waived.state, AttemptState::Waived);
    assert_eq!(waived.decision, Some(Decision { verdict: Verdict::Retried, by: "me".into() }));
    let claims = given.store.acquire(executor, &wanted(10)).await.unwrap();
    assert_eq!(claims.len(), 2, "driven and watched: {claims:?}");
}

pub async fn only_a_failed_or_canceled_job_is_retried(given: &Given) {
    let executor = given.executor().await;
    let claim = given.completed(executor, "p-1").await;
    let answer = given.store.retry(PROJECT, claim.work.job, "me".into(), PoolId::NONE).await.unwrap();
    assert!(matches!(answer, CommandResult::Refused(_)), "{answer:?}");
    assert!(given.store.acquire(executor, &wanted(10)).await.unwrap().is_empty());
}

pub async fn other_projects_see_nothing(given: &Given) {
    let job = given.queued().await;
    let other = given.store.project("another").await.unwrap();
    assert_eq!(given.store.get(other, job).await.unwrap(), None);
    assert_eq!(given.store.timeline(other, job).await.unwrap(), None);
    assert_eq!(given.store.request_cancel(other, job).await.unwrap(), CommandResult::NotFound);
    assert_eq!(given.store.hide(other, job).await.unwrap(), (CommandResult::NotFound, Vec::new()));
    let listed = given.store.list(other, ListFilter { limit: 10, ..ListFilter::default() }).await.unwrap().unwrap();
    assert!(listed.jobs.is_empty());
    let behind = ListFilter { after: Some(job), limit: 10, ..ListFilter::default() };
    assert_eq!(given.store.list(other, behind).await.unwrap(), None);
}

pub async fn a_list_pages_in_both_directions(given: &Given) {
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(given.queued().await);
    }
    let newest = ListFilter { limit: 2, ..ListFilter::default() };
    assert_eq!(page(given, newest.clone()).await, (vec![jobs[4], jobs[3]], true));
    let behind = ListFilter { after: Some(jobs[3]), ..newest.clone() };
    assert_eq!(page(given, behind).await, (vec![jobs[2], jobs[1]], true));
    let last = ListFilter { after: Some(jobs[1]), ..newest.clone() };
    assert_eq!(page(given, last).await, (vec![jobs[0]], false));
    let oldest = ListFilter { ascending: true, after: Some(jobs[0]), limit: 4, ..ListFilter::default() };
    assert_eq!(page(given, oldest).await, (jobs[1..].to_vec(), false));
    let unknown = ListFilter { after: Some(given.new_job().job), ..newest };
    assert_eq!(given.store.list(PROJECT, unknown).await.unwrap(), None);
}

pub async fn a_list_filters_by_status_model_and_metadata(given: &Given) {
    let mut fits = given.new_job();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    fits.request.metadata = BTreeMap::from([pair("team", "blue"), pair("it's \"$.x\"", "1")]);
    let mut other = given.new_job();
    other.request.metadata = BTreeMap::from([pair("team", "red")]);
    other.request.model = "slow".into();
    let (fits, other) = (given.create(fits).await, given.create(other).await);
    let executor = given.executor().await;
    given.store.acquire(executor, &wanted(10)).await.unwrap();
    let done = given.completed(executor, "p-1").await.work.job;
    let all = ListFilter { limit: 10, ..ListFilter::default() };
    let metadata = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<BTreeMap<_, _>>();
    let status = |status| ListFilter { status: Some(status), ..all.clone() };
    assert_eq!(page(given, status(Status::Completed)).await, (vec![done], false));
    assert_eq!(page(given, status(Status::Queued)).await, (vec![other, fits], false));
    assert_eq!(page(given, status(Status::Failed)).await, (vec![], false));
    let model = ListFilter { model: Some("slow".to_owned()), ..all.clone() };
    assert_eq!(page(given, model).await, (vec![other], false));
    let both = ListFilter { metadata: metadata(&[pair("team", "blue"), pair("it's \"$.x\"", "1")]), ..all.clone() };
    assert_eq!(page(given, both).await, (vec![fits], false));
    let neither = ListFilter { metadata: metadata(&[pair("team", "blue"), pair("more", "1")]), ..all };
    assert_eq!(page(given, neither).await, (vec![], false));
}

pub async fn a_hidden_job_is_gone_for_readers(given: &Given) {
    let executor = given.executor().await;
    let claim = given.running(executor, "p-1").await;
    let job = claim.work.job;
    let answer = given.store.hide(PROJECT, job).await.unwrap();
    assert!(matches!(answer, (CommandResult::Refused(_), keys) if keys.is_empty()));
    given.store.request_cancel(PROJECT, job).await.unwrap();
    let mut claim = given.store.woken(executor, 10).await.unwrap().remove(0);
    given.step(executor, &mut claim, Input::Canceled(CancelOutcome::NotStoppable)).await;
    assert_eq!(given.store.stats().await.unwrap().watched, 1);
    let (answer, _) = given.store.hide(PROJECT, job).await.unwrap();
    assert!(matches!(answer, CommandResult::Done(_)), "{answer:?}");
    assert_eq!(given.store.get(PROJECT, job).await.unwrap(), None);
    assert_eq!(given.store.hide(PROJECT, job).await.unwrap().0, CommandResult::NotFound);
    assert_eq!(given.store.retry(PROJECT, job, "me".into(), PoolId::NONE).await.unwrap(), CommandResult::NotFound);
    assert_eq!(given.store.stats().await.unwrap().watched, 0, "nobody wants what it yields");
    let later = given.queued().await;
    let behind = ListFilter { after: Some(job), ascending: true, limit: 10, ..ListFilter::default() };
    assert_eq!(page(given, behind).await, (vec![later], false), "it still marks a place");
}

pub async fn names_keep_their_numbers(given: &Given) {
    let named = |name: &str, provider: &str| (name.to_owned(), provider.to_owned());
    let first = given.store.register_accounts(vec![named("a", "x"), named("b", "x"), named("a", "y")]).await.unwrap();
    assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    let again = given.store.register_accounts(vec![named("a", "y"), named("c", "x"), named("a", "x")]).await.unwrap();
    assert_eq!((again[0], again[2]), (first[2], first[0]));
    assert!(!first.contains(&again[1]));
    assert_eq!(given.store.project("default").await.unwrap(), ProjectId(1));
    let team = given.store.project("team").await.unwrap();
    assert_eq!((given.store.project("team").await.unwrap(), team != ProjectId(1)), (team, true));
}

pub async fn keys_are_found_until_they_are_revoked(given: &Given) {
    let key = |name: &str, hash| ApiKey {
        id: 0,
        name: name.to_owned(),
        project: PROJECT,
        hash: [hash; 32],
        scopes: vec!["read".to_owned(), "write".to_owned()],
        created_at: given.now(),
        revoked_at: None,
    };
    let one = given.store.create_key(key("one", 1)).await.unwrap();
    let two = given.store.create_key(key("two", 2)).await.unwrap();
    assert_eq!(given.store.keys().await.unwrap(), vec![one.clone(), two.clone()]);
    assert_eq!(given.store.find_key([1; 32]).await.unwrap(), Some(one.clone()));
    assert_eq!(given.store.find_key([3; 32]).await.unwrap(), None);
    assert!(given.store.revoke_key(one.id).await.unwrap());
    let revoked_at = Some(given.now());
    given.clock.advance(Duration::from_secs(1));
    assert!(given.store.revoke_key(one.id).await.unwrap());
    assert!(!given.store.revoke_key(one.id + 99).await.unwrap());
    assert_eq!(given.store.find_key([1; 32]).await.unwrap(), None);
    assert_eq!(given.store.keys().await.unwrap(), vec![ApiKey { revoked_at, ..one }, two]);
}

pub async fn durations_are_the_newest_of_their_model(given: &Given) {
    let executor = given.executor().await;
    let first = given.completed(executor, "p-1").await;
    given.clock.advance(Duration::from_secs(60));
    let second = given.completed(executor, "p-2").await;
    let ran = |claim: &longtake_core::store::Claim| claim.record.finished_at.unwrap().since(claim.record.created_at);
    let all = vec![ran(&second), ran(&first)];
    assert_eq!(given.store.durations("fast", 10).await.unwrap(), all);
    assert_eq!(given.store.durations("fast", 1).await.unwrap(), all[..1]);
    assert!(given.store.durations("slow", 10).await.unwrap().is_empty());
}

pub async fn stats_count_what_is_there(given: &Given) {
    let executor = given.executor().await;
    given.running(executor, "p-1").await;
    failed(given, executor).await;
    given.store.create(vec![NewJob { ..given.new_job() }, given.new_job()]).await.unwrap();
    let stats = given.store.stats().await.unwrap();
    assert_eq!(stats.live, BTreeMap::from([(10, 2), (30, 1)]));
    assert_eq!((stats.due, stats.watched, stats.orphans), (2, 0, 0));
    assert_eq!(given.store.in_flight(ACCOUNT).await.unwrap(), 1);
    given.store.ready().await.unwrap();
}
