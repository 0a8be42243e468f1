//! Cases: what waits for room, in which order it is taken, and what does not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longtake_core::apply::Input;
use longtake_core::attempt::Retry;
use longtake_core::id::{JobId, PoolId, ProjectId};
use longtake_core::limits::Limits;
use longtake_core::store::{CommandResult, NewJob, Place, StepCommit, StepInput, Wanted, WorkKind};
use longtake_core::time::Timestamp;

use crate::given::{BUDGET, Given, MODEL, PROJECT, accepted, all_of, limited, placed, rejected, slots, wanted};

async fn of(given: &Given, pool: PoolId, project: ProjectId, priority: i16) -> JobId {
    let mut new = NewJob { pool, project, ..given.new_job() };
    new.request.priority = priority;
    given.create(new).await
}

fn queued(number: usize, pools: &[PoolId]) -> Wanted {
    Wanted { due: 0, queued: number, ..all_of(pools) }
}

pub async fn queued_jobs_wait_for_room_and_take_a_slot_that_is_freed(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let jobs = [given.queued_in(pool).await, given.queued_in(pool).await];
    let (one, two) = (given.executor().await, given.executor().await);
    let wanted = limited(&[pool], slots(1));
    let mut claims = given.store.acquire(one, &wanted).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.work.job).collect::<Vec<_>>(), jobs[..1]);
    let mut first = claims.remove(0);
    given.open(one, &mut first).await;
    assert!(given.take(one, &wanted).await.is_empty(), "the slot is used");
    assert!(given.take(two, &wanted).await.is_empty(), "by whomever");
    given.testify(&first, rejected(Retry::Never)).await;
    given.step(one, &mut first, Input::Fold(BUDGET)).await;
    assert_eq!(given.take(two, &wanted).await, jobs[1..], "the slot is free");
    assert!(given.take(one, &all_of(&[pool])).await.is_empty(), "taken once");
}

pub async fn priority_goes_before_age(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let mut jobs = Vec::new();
    for priority in [0, 5, -3, 5] {
        jobs.push(of(given, pool, PROJECT, priority).await);
    }
    let executor = given.executor().await;
    assert_eq!(given.take(executor, &queued(10, &[pool])).await, [jobs[1], jobs[3], jobs[0], jobs[2]]);
}

pub async fn projects_take_turns(given: &Given) {
    let [pool, other] = given.pools([MODEL, "other-model"]).await;
    let (b, c) = (given.store.project("b").await.unwrap(), given.store.project("c").await.unwrap());
    let jobs = [
        of(given, pool, PROJECT, 0).await,
        of(given, other, PROJECT, 0).await,
        of(given, pool, PROJECT, 0).await,
        of(given, pool, b, 0).await,
        of(given, other, c, 0).await,
        of(given, pool, c, 0).await,
    ];
    let (one, two) = (given.executor().await, given.executor().await);
    let both = [pool, other];
    assert_eq!(given.take(one, &queued(2, &both)).await, [jobs[0], jobs[3]]);
    assert_eq!(given.take(two, &queued(2, &both)).await, [jobs[4], jobs[1]], "the turn is everyone's");
    assert_eq!(given.take(one, &queued(10, &both)).await, [jobs[5], jobs[2]]);
}

pub async fn turns_are_taken_within_a_priority(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let b = given.store.project("b").await.unwrap();
    let first = of(given, pool, PROJECT, 0).await;
    let executor = given.executor().await;
    assert_eq!(given.take(executor, &queued(1, &[pool])).await, [first]);
    let low = of(given, pool, b, 0).await;
    let high = of(given, pool, PROJECT, 1).await;
    assert_eq!(given.take(executor, &queued(10, &[pool])).await, [high, low]);
}

pub async fn a_model_without_room_blocks_no_other(given: &Given) {
    let [pool, other] = given.pools([MODEL, "other-model"]).await;
    let jobs = [
        given.queued_in(pool).await,
        given.queued_in(pool).await,
        given.queued_in(other).await,
        given.queued_in(pool).await,
    ];
    let executor = given.executor().await;
    let mut wanted = all_of(&[other]);
    wanted.accounts[0].pools.push((pool, slots(1)));
    let mut claims = given.store.acquire(executor, &wanted).await.unwrap();
    let taken: Vec<_> = claims.iter().map(|claim| claim.work.job).collect();
    assert_eq!(taken, [jobs[0], jobs[2]], "by age, as far as each model has room");
    given.open(executor, &mut claims[0]).await;
    assert!(given.take(executor, &wanted).await.is_empty());
    let late = given.queued_in(other).await;
    assert_eq!(given.take(executor, &wanted).await, [late]);
    wanted.accounts[0].pools[1].1 = slots(2);
    assert_eq!(given.take(executor, &wanted).await, jobs[1..2]);
}

pub async fn models_share_the_room_of_their_account(given: &Given) {
    let [pool, other] = given.pools([MODEL, "other-model"]).await;
    let jobs = [given.queued_in(pool).await, given.queued_in(other).await, given.queued_in(pool).await];
    let executor = given.executor().await;
    assert_eq!(given.take(executor, &limited(&[pool, other], slots(2))).await, jobs[..2]);
    assert!(given.take(executor, &limited(&[pool, other], slots(0))).await.is_empty());
    assert_eq!(given.take(executor, &limited(&[pool, other], Limits::NONE)).await, jobs[2..]);
}

pub async fn each_wanted_number_is_kept_and_due_rows_come_first(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let waiting = [given.queued_in(pool).await, given.queued_in(pool).await];
    let due = [given.queued().await, given.queued().await];
    let executor = given.executor().await;
    let one_each = Wanted { due: 1, queued: 1, ..all_of(&[pool]) };
    assert_eq!(given.take(executor, &one_each).await, [due[0], waiting[0]]);
    assert_eq!(given.take(executor, &Wanted { due: 0, ..one_each.clone() }).await, [waiting[1]]);
    assert!(given.take(executor, &Wanted { due: 0, ..one_each.clone() }).await.is_empty());
    assert_eq!(given.take(executor, &Wanted { queued: 0, ..one_each }).await, [due[1]]);
}

pub async fn an_account_that_takes_no_queued_jobs_gets_none(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let job = given.queued_in(pool).await;
    let executor = given.executor().await;
    let mut wanted = all_of(&[pool]);
    wanted.accounts[0].takes_queued = false;
    assert!(given.take(executor, &wanted).await.is_empty());
    given.store.request_cancel(PROJECT, job).await.unwrap();
    assert_eq!(given.take(executor, &wanted).await, [job], "what is due, it takes");
}

pub async fn other_pools_are_left_alone_and_no_pool_is_everyones(given: &Given) {
    let [pool, other] = given.pools([MODEL, "other-model"]).await;
    let job = given.queued_in(pool).await;
    given.store.request_cancel(PROJECT, job).await.unwrap();
    let waiting = given.queued_in(pool).await;
    let anyones = given.queued().await;
    let executor = given.executor().await;
    assert_eq!(given.take(executor, &all_of(&[other])).await, [anyones]);
    assert!(given.take(executor, &wanted(10)).await.is_empty());
    assert_eq!(given.take(executor, &all_of(&[pool])).await, [job, waiting]);
}

pub async fn a_canceled_job_is_due_whatever_the_limits_say(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let jobs = [given.queued_in(pool).await, given.queued_in(pool).await];
    let executor = given.executor().await;
    let none = limited(&[pool], slots(0));
    assert!(given.take(executor, &none).await.is_empty());
    given.store.request_cancel(PROJECT, jobs[1]).await.unwrap();
    let claims = given.store.acquire(executor, &none).await.unwrap();
    assert_eq!((claims.len(), claims[0].work.job), (1, jobs[1]));
    assert!(claims[0].record.cancel_pending());
}

pub async fn a_deadline_is_due_whatever_the_limits_say(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let deadline = Some(Duration::from_secs(20));
    let job = given.create(NewJob { pool, deadline, ..given.new_job() }).await;
    let executor = given.executor().await;
    let none = limited(&[pool], slots(0));
    given.clock.advance(Duration::from_micros(19_999_999));
    assert!(given.take(executor, &none).await.is_empty());
    given.clock.advance(Duration::from_micros(1));
    assert_eq!(given.take(executor, &none).await, [job]);
}

pub async fn a_release_says_where_the_row_waits(given: &Given) {
    let [pool, other] = given.pools([MODEL, "other-model"]).await;
    given.queued_in(pool).await;
    let executor = given.executor().await;
    let claim = given.store.acquire(executor, &all_of(&[pool])).await.unwrap().remove(0);
    let told = Arc::new(AtomicUsize::new(0));
    let ear = Arc::clone(&told);
    given.store.on_commit(Arc::new(move |_, woken| _ = ear.fetch_add(usize::from(woken), Ordering::SeqCst)));
    given.store.release(executor, vec![placed(&claim, Timestamp::NEVER, other, true)]).await.unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 1, "it waits for room again, and there may be some");
    assert!(given.take(executor, &all_of(&[pool])).await.is_empty());
    assert!(given.take(executor, &limited(&[other], slots(0))).await.is_empty());
    let claim = given.store.acquire(executor, &all_of(&[other])).await.unwrap().remove(0);
    let later = given.now() + Duration::from_secs(5);
    given.store.release(executor, vec![placed(&claim, later, other, false)]).await.unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 1);
    assert!(given.take(executor, &all_of(&[other])).await.is_empty(), "no longer queued");
    given.clock.advance(Duration::from_secs(5));
    let claim = given.store.acquire(executor, &limited(&[other], slots(0))).await.unwrap().remove(0);
    let later = given.now() + Duration::from_secs(5);
    given.store.release(executor, vec![placed(&claim, later, pool, true)]).await.unwrap();
    given.clock.advance(Duration::from_secs(5));
    assert_eq!(given.take(executor, &limited(&[pool], slots(0))).await, [claim.work.job], "queued, and due besides");
    assert!(given.take(executor, &all_of(&[pool])).await.is_empty(), "what is taken is not queued");
}

pub async fn a_decision_says_where_the_row_waits(given: &Given) {
    let [pool, other] = given.pools([MODEL, "other-model"]).await;
    given.queued_in(pool).await;
    let executor = given.executor().await;
    let mut claim = given.store.acquire(executor, &all_of(&[pool])).await.unwrap().remove(0);
    given.open(executor, &mut claim).await;
    given.testify(&claim, rejected(Retry::Counted)).await;
    let commit = StepCommit {
        work: claim.work,
        fence: claim.fence,
        input: StepInput::Job(Input::Fold(BUDGET)),
        exchanges: Vec::new(),
        release: Some((Timestamp::NEVER, Place { pool: other, queued: true })),
    };
    given.store.step(executor, vec![commit]).await.unwrap();
    // The evidence made it due; whoever looks then finds that there is no room yet.
    let none = limited(&[other], slots(0));
    let claim = given.store.acquire(executor, &none).await.unwrap().remove(0);
    given.store.release(executor, vec![placed(&claim, Timestamp::NEVER, other, true)]).await.unwrap();
    assert!(given.take(executor, &none).await.is_empty());
    assert!(given.take(executor, &all_of(&[pool])).await.is_empty());
    assert_eq!(given.take(executor, &all_of(&[other])).await, [claim.work.job]);
}

pub async fn patience_leaves_due_rows_to_others(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let job = given.queued_in(pool).await;
    given.store.request_cancel(PROJECT, job).await.unwrap();
    let anyones = given.queued().await;
    let executor = given.executor().await;
    let mut patient = all_of(&[pool]);
    patient.accounts[0].overdue = Duration::from_secs(5);
    patient.accounts[0].takes_queued = false;
    assert_eq!(given.take(executor, &patient).await, [anyones], "what is anyone's is nobody else's");
    given.clock.advance(Duration::from_micros(4_998_999));
    assert!(given.take(executor, &patient).await.is_empty());
    given.clock.advance(Duration::from_micros(1));
    assert_eq!(given.take(executor, &patient).await, [job]);
}

pub async fn a_retried_job_waits_in_the_pool_given(given: &Given) {
    let [pool, other] = given.pools([MODEL, "other-model"]).await;
    let job = given.queued_in(other).await;
    let executor = given.executor().await;
    let mut claim = given.store.acquire(executor, &all_of(&[other])).await.unwrap().remove(0);
    given.open(executor, &mut claim).await;
    given.testify(&claim, rejected(Retry::Never)).await;
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    let answer = given.store.retry(PROJECT, job, "me".into(), pool).await.unwrap();
    assert!(matches!(answer, CommandResult::Done(_)), "{answer:?}");
    assert!(given.take(executor, &all_of(&[other])).await.is_empty());
    assert!(given.take(executor, &limited(&[pool], slots(0))).await.is_empty(), "it waits like a new one");
    assert_eq!(given.take(executor, &all_of(&[pool])).await, [job]);
}

pub async fn a_late_attempt_is_watched_in_its_pool(given: &Given) {
    let [pool, other] = given.pools([MODEL, "other-model"]).await;
    given.queued_in(other).await;
    let executor = given.executor().await;
    let mut claim = given.store.acquire(executor, &all_of(&[other])).await.unwrap().remove(0);
    given.open(executor, &mut claim).await;
    given.testify(&claim, rejected(Retry::Never)).await;
    given.step(executor, &mut claim, Input::Fold(BUDGET)).await;
    given.testify(&claim, accepted("p-1")).await;
    assert!(given.take(executor, &all_of(&[other])).await.is_empty());
    let watch = given.store.acquire(executor, &limited(&[pool], slots(0))).await.unwrap().remove(0);
    assert_eq!((watch.work.kind, watch.work.reference), (WorkKind::Watch, 1), "of the model it was sent to");
}
