//! Cases: what is kept no longer goes, by policy, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longtake_core::apply::{Input, LateInput};
use longtake_core::artifact::{ArtifactKey, Digest};
use longtake_core::attempt::{AttemptState, Retry};
use longtake_core::event::EventKind;
use longtake_core::feed::{FeedCursor, FeedEvent, Tail};
use longtake_core::id::{AccountId, ExecutorId, JobId, PoolId, ProjectId, ProviderJobId};
use longtake_core::record::CancelOutcome;
use longtake_core::request::InputImage;
use longtake_core::retention::{Expired, Keep, Retention};
use longtake_core::store::{
    Claim, CommandResult, CreateResult, IdempotencyKey, ListFilter, NewJob, OpenResult, StoreError,
};

use crate::feed::{all, now};
use crate::given::{ACCOUNT, BUDGET, Given, PROJECT, accepted, output, rejected};

const HOUR: Duration = Duration::from_hours(1);
/// Jobs that one call looks at.
const LIMIT: usize = 100;
/// More than any case needs.
const MAX_CALLS: usize = 1_000;

const fn days(days: u64) -> Duration {
    Duration::from_hours(24 * days)
}

fn of_all(default: Keep) -> Retention {
    Retention { default, projects: BTreeMap::new() }
}

fn jobs(keep: Duration) -> Keep {
    Keep { jobs: Some(keep), ..Keep::default() }
}

fn events(keep: Duration) -> Keep {
    Keep { events: Some(keep), ..Keep::default() }
}

fn artifacts(keep: Duration) -> Keep {
    Keep { artifacts: Some(keep), ..Keep::default() }
}

/// All that goes now. There is little, but a store that removes days of events as a whole does so in many calls.
async fn expire(given: &Given, policy: &Retention) -> Expired {
    let mut all = Expired::default();
    for _ in 0..MAX_CALLS {
        let expired = given.store.expire(policy, LIMIT).await.unwrap();
        all.jobs += expired.jobs;
        all.events += expired.events;
        all.artifacts.extend(expired.artifacts);
        if !expired.more {
            return all;
        }
    }
    panic!("{MAX_CALLS} calls and no end: {all:?}");
}

async fn is_there(given: &Given, job: JobId) -> bool {
    given.store.request(job).await.unwrap().is_some()
}

/// A job that completes at an account.
async fn finish(given: &Given, executor: ExecutorId, new: NewJob, account: AccountId, provider_job: &str) -> Claim {
    given.create(new).await;
    let mut claim = given.acquire(executor).await;
    let mut intent = given.intent(executor, &claim);
    intent.attempt.account = account;
    let opened = given.store.open_attempts(executor, vec![intent]).await.unwrap().remove(0);
    let OpenResult::Opened(record) = opened else { panic!("not opened: {opened:?}") };
    claim.record = record;
    given.testify(&claim, accepted(provider_job)).await;
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    given.store.woken(executor, 10).await.unwrap();
    given.step(executor, &mut claim, Input::ProviderDone).await;
    let stored = Input::Stored(vec![output(&claim)]);
    given.step(executor, &mut claim, stored).await;
    claim
}

async fn completed(given: &Given, executor: ExecutorId, provider_job: &str) -> Claim {
    finish(given, executor, given.new_job(), ACCOUNT, provider_job).await
}

/// Canceled while the provider went on with it: somebody watches what becomes of it.
async fn watched(given: &Given, executor: ExecutorId, provider_job: &str) -> JobId {
    let mut claim = given.running(executor, provider_job).await;
    cancel(given, executor, &mut claim).await;
    claim.work.job
}

async fn cancel(given: &Given, executor: ExecutorId, claim: &mut Claim) {
    given.store.request_cancel(PROJECT, claim.work.job).await.unwrap();
    given.store.woken(executor, 10).await.unwrap();
    given.step(executor, claim, Input::Canceled(CancelOutcome::NotStoppable)).await;
}

fn with_key(given: &Given, key: &str) -> NewJob {
    let idempotency = IdempotencyKey { key: key.into(), fingerprint: [1; 32] };
    NewJob { idempotency: Some(idempotency), ..given.new_job() }
}

fn image(key: &ArtifactKey) -> InputImage {
    InputImage { key: key.clone(), media_type: "image/png".into(), bytes: 5, sha256: Digest([5; 32]) }
}

pub async fn an_old_job_goes_with_all_that_belongs_to_it(given: &Given) {
    let executor = given.executor().await;
    let from = now(given).await;
    let old = finish(given, executor, with_key(given, "k"), ACCOUNT, "p-1").await;
    let (job, key) = (old.work.job, output(&old).key);
    let mut left = given.running(executor, "p-2").await;
    cancel(given, executor, &mut left).await;
    let watch = given.acquire(executor).await;
    given.step_late(executor, &watch, LateInput::LimitPassed).await;
    assert_eq!(given.store.stats().await.unwrap().orphans, 1);
    let told = all(given, None, from, 100, 9).await;

    given.clock.advance(days(10));
    let young = finish(given, executor, with_key(given, "young"), ACCOUNT, "p-3").await;
    let whole = given.store.timeline(PROJECT, young.work.job).await.unwrap();
    let expired = expire(given, &of_all(jobs(days(9)))).await;
    assert_eq!(expired, Expired { jobs: 2, events: 9, artifacts: vec![key.clone()], ..Expired::default() });
    for gone in [job, left.work.job] {
        assert_eq!(given.store.get(PROJECT, gone).await.unwrap(), None);
        assert_eq!(given.store.timeline(PROJECT, gone).await.unwrap(), None);
        assert_eq!(given.store.request(gone).await.unwrap(), None);
        assert_eq!(given.store.events_after(gone, 0, 100).await.unwrap(), []);
        assert_eq!(given.store.request_cancel(PROJECT, gone).await.unwrap(), CommandResult::NotFound);
    }
    assert_eq!(given.store.referenced(vec![key, output(&young).key]).await.unwrap(), [false, true]);
    let names = ["p-1", "p-2", "p-3"].map(|name| ProviderJobId::new(name).unwrap());
    assert_eq!(given.store.claimed(ACCOUNT, names.to_vec()).await.unwrap(), [false, false, true]);
    assert_eq!(given.store.stats().await.unwrap().orphans, 0);
    assert_eq!(given.store.durations("fast", 10).await.unwrap().len(), 1);
    assert_eq!(given.store.timeline(PROJECT, young.work.job).await.unwrap(), whole);
    assert_expired(given, None, from).await;
    assert_expired(given, Some(PROJECT), told[7].0).await;
    assert_eq!(all(given, Some(PROJECT), told[8].0, 100, 5).await.len(), 5, "behind the last that is gone");

    assert_eq!(expire(given, &of_all(jobs(days(9)))).await, Expired::default());
    assert_eq!(given.store.find_idempotent(PROJECT, "k").await.unwrap(), None);
    let again = with_key(given, "k");
    let created = given.store.create(vec![again.clone()]).await.unwrap().remove(0);
    assert!(matches!(created, CreateResult::Created(new) if new.record.job == again.job));
    let kept = given.store.create(vec![with_key(given, "young")]).await.unwrap().remove(0);
    assert!(matches!(kept, CreateResult::Replayed(seen) if seen.record.job == young.work.job));
}

pub async fn what_is_not_over_stays_whatever_the_policy_says(given: &Given) {
    let executor = given.executor().await;
    let watched = watched(given, executor, "p-1").await;
    let watch = given.acquire(executor).await;
    given.clock.advance(HOUR * 3);
    let running = given.running(executor, "p-2").await.work.job;
    let held = given.held(executor).await.work.job;
    let mut failed = given.submitting(executor).await;
    given.testify(&failed, rejected(Retry::Never)).await;
    given.step(executor, &mut failed, Input::Fold(BUDGET)).await;
    let retried = failed.work.job;
    let queued = given.queued().await;
    let all = [watched, running, held, retried, queued];
    given.clock.advance(days(400));
    given.store.retry(PROJECT, retried, "me".into(), PoolId::NONE).await.unwrap();
    let mut before = Vec::new();
    for job in all {
        before.push(given.store.timeline(PROJECT, job).await.unwrap().unwrap());
    }
    let policy = of_all(Keep { jobs: Some(days(1)), events: Some(HOUR), artifacts: Some(HOUR) });
    for _ in 0..3 {
        assert_eq!(expire(given, &policy).await, Expired::default());
        given.clock.advance(days(1));
    }
    for (job, before) in all.into_iter().zip(before) {
        assert_eq!(given.store.timeline(PROJECT, job).await.unwrap(), Some(before));
    }
    // Once nobody watches it any more there is nothing left to do for it.
    given.step_late(executor, &watch, LateInput::Ended).await;
    assert_eq!(expire(given, &of_all(jobs(days(1)))).await.jobs, 1);
    assert!(!is_there(given, watched).await);
}

pub async fn what_was_unfinished_is_found_a_day_later(given: &Given) {
    let executor = given.executor().await;
    let mut slow = given.running(executor, "p-1").await;
    let young = completed(given, executor, "p-2").await.work.job;
    let policy = of_all(jobs(HOUR));
    given.clock.advance(2 * HOUR);
    assert_eq!(expire(given, &policy).await.jobs, 1);
    assert!(!is_there(given, young).await);
    given.step(executor, &mut slow, Input::ProviderDone).await;
    let stored = Input::Stored(vec![output(&slow)]);
    given.step(executor, &mut slow, stored).await;
    given.clock.advance(2 * HOUR);
    let later = completed(given, executor, "p-3").await.work.job;
    given.clock.advance(2 * HOUR);
    assert_eq!(expire(given, &policy).await.jobs, 1, "it goes on where it ended");
    assert!(!is_there(given, later).await);
    assert!(is_there(given, slow.work.job).await);
    given.clock.advance(20 * HOUR);
    assert_eq!(expire(given, &policy).await.jobs, 1);
    assert!(!is_there(given, slow.work.job).await);
}

pub async fn time_counts_from_the_end_of_a_job(given: &Given) {
    let executor = given.executor().await;
    let mut slow = given.running(executor, "p-1").await;
    given.clock.advance(days(5));
    given.step(executor, &mut slow, Input::ProviderDone).await;
    let stored = Input::Stored(vec![output(&slow)]);
    given.step(executor, &mut slow, stored).await;
    // Where a project keeps its events for ever, no store removes days of them as a whole.
    let patient = given.store.project("patient").await.unwrap();
    let default = Keep { jobs: Some(days(9)), events: Some(days(7)), artifacts: Some(days(3)) };
    let policy = Retention { default, projects: BTreeMap::from([(patient, Keep::default())]) };
    let before = given.store.timeline(PROJECT, slow.work.job).await.unwrap().unwrap();
    given.clock.advance(days(3) - HOUR);
    assert_eq!(expire(given, &policy).await, Expired::default());
    assert_eq!(given.store.timeline(PROJECT, slow.work.job).await.unwrap(), Some(before));
    given.clock.advance(days(1));
    assert_eq!(expire(given, &policy).await.artifacts, [output(&slow).key]);
    given.clock.advance(days(4));
    assert_eq!(expire(given, &policy).await.jobs, 0);
    assert_eq!(given.store.events_after(slow.work.job, 0, 100).await.unwrap(), []);
    given.clock.advance(days(2));
    assert_eq!(expire(given, &policy).await.jobs, 1);
    assert!(!is_there(given, slow.work.job).await);
}

pub async fn outputs_go_alone_and_are_told_once(given: &Given) {
    let executor = given.executor().await;
    let claim = completed(given, executor, "p-1").await;
    let before = given.store.timeline(PROJECT, claim.work.job).await.unwrap().unwrap();
    given.clock.advance(days(4));
    let policy = of_all(artifacts(days(3)));
    let expired = expire(given, &policy).await;
    assert_eq!(expired, Expired { artifacts: vec![output(&claim).key], ..Expired::default() });
    let after = given.store.timeline(PROJECT, claim.work.job).await.unwrap().unwrap();
    assert_eq!((after.job.record, after.job.output), (before.job.record, None));
    assert_eq!((&after.events, after.attempts), (&before.events, before.attempts));
    assert_eq!(after.events[4].snapshot.output, Some((1_234, Digest([9; 32]))), "history says what it was");
    assert_eq!(given.store.referenced(vec![output(&claim).key]).await.unwrap(), [false]);
    given.clock.advance(days(2));
    assert_eq!(expire(given, &policy).await, Expired::default());
}

pub async fn an_object_that_a_row_still_names_is_not_told(given: &Given) {
    let executor = given.executor().await;
    let shared = ArtifactKey::input(PROJECT, &Digest([5; 32]));
    let mut new = given.new_job();
    new.request.input = Some(image(&shared));
    let one = finish(given, executor, new, ACCOUNT, "p-1").await;
    let key = output(&one).key;
    given.clock.advance(days(5));
    let mut new = given.new_job();
    new.request.input = Some(image(&shared));
    let two = finish(given, executor, new, ACCOUNT, "p-2").await;
    let mut new = given.new_job();
    new.request.input = Some(image(&key));
    let three = finish(given, executor, new, ACCOUNT, "p-3").await;
    given.clock.advance(days(1));
    assert_eq!(expire(given, &of_all(artifacts(days(3)))).await, Expired::default());
    assert_eq!(given.store.get(PROJECT, one.work.job).await.unwrap().unwrap().output, None);
    let expired = expire(given, &of_all(jobs(days(3)))).await;
    assert_eq!((expired.jobs, expired.artifacts), (1, Vec::new()), "the others name both");
    given.store.hide(PROJECT, three.work.job).await.unwrap();
    given.clock.advance(days(5));
    let last = expire(given, &of_all(jobs(days(3)))).await;
    assert_eq!((last.jobs, last.artifacts.len()), (2, 3), "each once: {last:?}");
    let told: BTreeSet<ArtifactKey> = last.artifacts.into_iter().collect();
    assert_eq!(told, BTreeSet::from([shared, key, output(&two).key]));
}

async fn assert_expired(given: &Given, project: Option<ProjectId>, after: FeedCursor) {
    let answer = given.store.feed(project, Some(after), 10).await;
    assert!(matches!(answer, Err(StoreError::CursorExpired)), "{project:?} {after}: {answer:?}");
}

pub async fn events_go_alone_and_cursors_before_them_expire(given: &Given) {
    let other = given.store.project("other").await.unwrap();
    let executor = given.executor().await;
    let from = now(given).await;
    let (_, tail) = given.store.tail(None).await.unwrap();
    let theirs = finish(given, executor, NewJob { project: other, ..given.new_job() }, ACCOUNT, "p-1").await;
    let job = watched(given, executor, "p-2").await;
    let watch = given.acquire(executor).await;
    let told = all(given, None, from, 100, 9).await;
    given.clock.advance(days(5));
    given.step_late(executor, &watch, LateInput::Stored(vec![output(&watch)])).await;
    let before = given.store.timeline(PROJECT, job).await.unwrap().unwrap();
    let late = all(given, None, told[8].0, 100, 1).await.remove(0);
    given.clock.advance(days(1));
    let policy = Retention { default: events(days(3)), projects: BTreeMap::from([(other, Keep::default())]) };
    assert_eq!(expire(given, &policy).await, Expired { events: 4, ..Expired::default() });

    let after = given.store.timeline(PROJECT, job).await.unwrap().unwrap();
    assert_eq!(after.events, before.events[4..], "what is younger stays, under its number");
    assert_eq!((after.events[0].ver, after.events[0].kind), (5, EventKind::LateResult));
    assert_eq!((after.job, after.attempts), (before.job, before.attempts));
    assert_eq!(given.store.events_after(job, 0, 100).await.unwrap(), after.events);
    for early in [from, told[4].0, told[7].0] {
        assert_expired(given, None, early).await;
        assert_expired(given, Some(PROJECT), early).await;
    }
    for at in [told[8].0, late.0] {
        let rest: Vec<_> = [&late].into_iter().filter(|(cursor, _)| *cursor > at).cloned().collect();
        assert_eq!(all(given, Some(PROJECT), at, 100, rest.len()).await, rest);
        assert_eq!(all(given, None, at, 100, rest.len()).await, rest);
    }
    let kept: Vec<_> = told.iter().filter(|(_, event)| event.project == other).cloned().collect();
    assert_eq!((all(given, Some(other), from, 100, 5).await, kept.len()), (kept.clone(), 5), "nothing of theirs went");
    assert_eq!(given.store.events_after(theirs.work.job, 0, 100).await.unwrap().len(), 5);
    // Live listeners are not told what is gone, and are told the rest.
    let mut rest: Vec<FeedEvent> = kept.into_iter().map(|(_, event)| event).collect();
    rest.push(late.1);
    assert_eq!(given.store.tail(Some(tail)).await.unwrap().0, rest);
    assert_eq!(given.store.tail(Some(Tail::at(from))).await.unwrap().0, rest);
    assert_eq!(expire(given, &policy).await, Expired::default());
}

pub async fn a_job_without_its_older_events_goes_on(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.submitting(executor).await;
    given.testify(&claim, rejected(Retry::Never)).await;
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    let job = claim.work.job;
    given.clock.advance(days(5));
    // A store that removes days of events as a whole counts none.
    expire(given, &of_all(events(days(3)))).await;
    assert_eq!(given.store.timeline(PROJECT, job).await.unwrap().unwrap().events, []);
    assert_eq!(given.record(job).await, claim.record);
    given.store.retry(PROJECT, job, "me".into(), PoolId::NONE).await.unwrap();
    let mut claim = given.acquire(executor).await;
    given.open(executor, &mut claim).await;
    let told = given.store.events_after(job, 0, 100).await.unwrap();
    let told: Vec<_> = told.iter().map(|event| (event.ver, event.kind)).collect();
    assert_eq!(told, [(4, EventKind::Queued), (5, EventKind::Submitted)], "numbers go on");
    assert_eq!(given.record(job).await.ver, 5);
}

pub async fn a_project_keeps_by_its_own_policy(given: &Given) {
    let (patient, hasty) = (given.store.project("patient").await.unwrap(), given.store.project("hasty").await.unwrap());
    let executor = given.executor().await;
    let mut made = Vec::new();
    for (project, name) in [(patient, "p-1"), (PROJECT, "p-2"), (hasty, "p-3")] {
        made.push(finish(given, executor, NewJob { project, ..given.new_job() }, ACCOUNT, name).await.work.job);
    }
    let projects = BTreeMap::from([(patient, Keep::default()), (hasty, jobs(days(2)))]);
    let policy = Retention { default: jobs(days(9)), projects };
    given.clock.advance(days(3));
    assert_eq!(expire(given, &policy).await.jobs, 1);
    assert!(is_there(given, made[1]).await && !is_there(given, made[2]).await);
    given.clock.advance(days(7));
    assert_eq!(expire(given, &policy).await.jobs, 1);
    assert!(is_there(given, made[0]).await && !is_there(given, made[1]).await);
    given.clock.advance(days(400));
    assert_eq!(expire(given, &policy).await, Expired::default());
    assert!(is_there(given, made[0]).await, "no rule is for ever");
}

pub async fn an_older_doubt_of_its_account_keeps_a_job(given: &Given) {
    let executor = given.executor().await;
    let before = completed(given, executor, "p-1").await.work.job;
    given.clock.advance(HOUR * 2);
    let shortly_before = completed(given, executor, "p-0").await.work.job;
    given.clock.advance(HOUR);
    let mut doubt = given.held(executor).await;
    let after = completed(given, executor, "p-2").await;
    let elsewhere = finish(given, executor, given.new_job(), AccountId(2), "p-1").await.work.job;
    given.clock.advance(days(10));
    let policy = of_all(Keep { jobs: Some(days(1)), events: None, artifacts: Some(days(1)) });
    let expired = expire(given, &policy).await;
    assert_eq!((expired.jobs, expired.artifacts.len()), (2, 4), "its bytes prove nothing");
    assert!(!is_there(given, before).await, "its end is hours older than the doubt");
    assert!(is_there(given, shortly_before).await, "lists have clocks of their own");
    assert!(!is_there(given, elsewhere).await, "its account has no doubt");
    assert!(is_there(given, after.work.job).await);
    let names = vec![ProviderJobId::new("p-2").unwrap()];
    assert_eq!(given.store.claimed(ACCOUNT, names).await.unwrap(), [true]);
    // Its job waits for it no more, but somebody watches what becomes of it.
    cancel(given, executor, &mut doubt).await;
    given.clock.advance(days(1));
    assert_eq!(expire(given, &policy).await.jobs, 0);
    let watch = given.acquire(executor).await;
    assert_eq!(watch.late.as_ref().map(|late| late.state), Some(AttemptState::Unknown));
    given.step_late(executor, &watch, LateInput::Absent).await;
    given.clock.advance(days(1));
    assert_eq!(expire(given, &policy).await.jobs, 3);
    assert!(!is_there(given, after.work.job).await && !is_there(given, doubt.work.job).await);
}

pub async fn a_doubt_that_nobody_looks_into_keeps_nothing(given: &Given) {
    let executor = given.executor().await;
    // Two at once: each is older than the end of the other.
    let (mut one, mut two) = (given.held(executor).await, given.held(executor).await);
    let done = completed(given, executor, "p-1").await.work.job;
    for claim in [&mut one, &mut two] {
        cancel(given, executor, claim).await;
        let watch = given.acquire(executor).await;
        given.step_late(executor, &watch, LateInput::LimitPassed).await;
        assert_eq!(given.attempt(claim.work.job, 1).await.state, AttemptState::Unknown);
    }
    given.clock.advance(days(10));
    assert_eq!(expire(given, &of_all(jobs(days(1)))).await.jobs, 3);
    for job in [one.work.job, two.work.job, done] {
        assert!(!is_there(given, job).await);
    }
}

pub async fn a_call_looks_at_no_more_than_its_limit(given: &Given) {
    let executor = given.executor().await;
    let other = given.store.project("other").await.unwrap();
    let mut left = Vec::new();
    for number in 0..7 {
        let project = if number == 3 { other } else { PROJECT };
        let new = NewJob { project, ..given.new_job() };
        left.push(finish(given, executor, new, ACCOUNT, &format!("p-{number}")).await.work.job);
    }
    given.clock.advance(days(10));
    let policy = of_all(jobs(days(9)));
    for (removed, more) in [(3, true), (3, true), (1, false), (0, false)] {
        let expired = given.store.expire(&policy, 3).await.unwrap();
        assert_eq!((expired.jobs, expired.events, expired.more), (removed, 5 * removed, more));
        assert_eq!(u64::try_from(expired.artifacts.len()).unwrap(), removed);
    }
    for job in left {
        assert!(!is_there(given, job).await);
    }
}

pub async fn a_hidden_job_goes_too(given: &Given) {
    let executor = given.executor().await;
    let claim = completed(given, executor, "p-1").await;
    let job = claim.work.job;
    let (hidden, keys) = given.store.hide(PROJECT, job).await.unwrap();
    assert!(matches!(hidden, CommandResult::Done(_)) && keys == [output(&claim).key], "{hidden:?}");
    let behind = ListFilter { after: Some(job), limit: 10, ..ListFilter::default() };
    given.clock.advance(days(10));
    let visible = completed(given, executor, "p-2").await.work.job;
    assert!(given.store.list(PROJECT, behind.clone()).await.unwrap().is_some(), "it still marks a place");
    let expired = expire(given, &of_all(jobs(days(9)))).await;
    assert_eq!(expired, Expired { jobs: 1, events: 5, ..Expired::default() });
    assert!(!is_there(given, job).await && is_there(given, visible).await);
    assert_eq!(given.store.list(PROJECT, behind).await.unwrap(), None);
    let every = ListFilter { limit: 10, ..ListFilter::default() };
    let listed = given.store.list(PROJECT, every).await.unwrap().unwrap();
    assert_eq!(listed.jobs.iter().map(|job| job.record.job).collect::<Vec<_>>(), [visible]);
}
