//! Cases: slots and pace of accounts and their models, kept where attempts are opened.

use std::time::Duration;

use longtake_core::id::{ExecutorId, PoolId};
use longtake_core::limits::{AttemptLimits, Limits};
use longtake_core::state::JobState;
use longtake_core::store::{Claim, OpenAttempt, OpenResult};

use crate::given::{Given, MODEL, all_of, limited, pace, slots};

/// Tries to open an attempt with a model under limits.
async fn try_open(
    given: &Given,
    executor: ExecutorId,
    claim: &Claim,
    model: &str,
    limits: AttemptLimits,
) -> OpenResult {
    let mut open = OpenAttempt { limits, ..given.intent(executor, claim) };
    open.attempt.model = model.into();
    given.store.open_attempts(executor, vec![open]).await.unwrap().remove(0)
}

fn of_account(account: Limits, pool: PoolId) -> AttemptLimits {
    AttemptLimits { pool, account, model: Limits::NONE }
}

fn of_model(pool: PoolId, model: Limits) -> AttemptLimits {
    AttemptLimits { pool, account: Limits::NONE, model }
}

async fn claims(given: &Given, executor: ExecutorId, pool: PoolId, number: usize) -> Vec<Claim> {
    for _ in 0..number {
        given.queued_in(pool).await;
    }
    let claims = given.store.acquire(executor, &all_of(&[pool])).await.unwrap();
    assert_eq!(claims.len(), number);
    claims
}

pub async fn a_full_model_opens_no_attempt(given: &Given) {
    let [pool, other] = given.pools([MODEL, "other-model"]).await;
    let executor = given.executor().await;
    let jobs = claims(given, executor, pool, 3).await;
    let intents = jobs.iter().zip([(pool, MODEL), (pool, MODEL), (other, "other-model")]);
    let intents = intents.map(|(claim, (pool, model))| {
        let mut open = OpenAttempt { limits: of_model(pool, slots(1)), ..given.intent(executor, claim) };
        open.attempt.model = model.into();
        open
    });
    let answers = given.store.open_attempts(executor, intents.collect()).await.unwrap();
    assert!(
        matches!(answers[..], [OpenResult::Opened(_), OpenResult::AccountFull, OpenResult::Opened(_)]),
        "{answers:?}"
    );
    let again = try_open(given, executor, &jobs[1], MODEL, of_model(pool, slots(1))).await;
    assert_eq!(again, OpenResult::AccountFull);
    assert_eq!(given.record(jobs[1].work.job).await, jobs[1].record, "nothing was written");
    let more = try_open(given, executor, &jobs[1], MODEL, of_model(pool, slots(2))).await;
    assert!(matches!(more, OpenResult::Opened(_)), "{more:?}");
}

pub async fn pace_gives_permits_evenly_and_says_when(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let executor = given.executor().await;
    let jobs = claims(given, executor, pool, 3).await;
    let limits = of_account(pace(6), pool);
    let first = try_open(given, executor, &jobs[0], MODEL, limits).await;
    assert!(matches!(first, OpenResult::Opened(_)), "{first:?}");
    let next = given.now() + Duration::from_secs(10);
    given.clock.advance(Duration::from_micros(9_999_999));
    for claim in &jobs[1..] {
        assert_eq!(try_open(given, executor, claim, MODEL, limits).await, OpenResult::Paced(next));
    }
    let unchanged = given.record(jobs[1].work.job).await;
    assert_eq!((unchanged.state, unchanged.attempt), (JobState::Queued, None), "nothing was written");
    given.clock.advance(Duration::from_micros(1));
    let second = try_open(given, executor, &jobs[1], MODEL, limits).await;
    assert!(matches!(second, OpenResult::Opened(_)), "{second:?}");
    let next = given.now() + Duration::from_secs(10);
    assert_eq!(try_open(given, executor, &jobs[2], MODEL, limits).await, OpenResult::Paced(next));
}

pub async fn no_permit_is_lost_where_another_pace_refuses(given: &Given) {
    let [pool, other] = given.pools([MODEL, "other-model"]).await;
    let executor = given.executor().await;
    let jobs = claims(given, executor, pool, 3).await;
    let slow = AttemptLimits { pool, account: pace(60), model: pace(6) };
    let first = try_open(given, executor, &jobs[0], MODEL, slow).await;
    assert!(matches!(first, OpenResult::Opened(_)), "{first:?}");
    let start = given.now();
    assert_eq!(
        try_open(given, executor, &jobs[1], MODEL, slow).await,
        OpenResult::Paced(start + Duration::from_secs(10)),
        "the later of the two"
    );
    given.clock.advance(Duration::from_secs(1));
    assert!(matches!(try_open(given, executor, &jobs[1], MODEL, slow).await, OpenResult::Paced(_)));
    let fast = AttemptLimits { pool: other, account: pace(60), model: Limits::NONE };
    let opened = try_open(given, executor, &jobs[2], "other-model", fast).await;
    assert!(matches!(opened, OpenResult::Opened(_)), "the account's permit is still there: {opened:?}");
}

pub async fn acquire_looks_at_the_permits(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let executor = given.executor().await;
    for _ in 0..5 {
        given.queued_in(pool).await;
    }
    // Two a second: two may go out at once.
    let wanted = limited(&[pool], pace(120));
    let first = given.store.acquire(executor, &wanted).await.unwrap();
    assert_eq!(first.len(), 2);
    for claim in &first {
        let opened = try_open(given, executor, claim, MODEL, of_account(pace(120), pool)).await;
        assert!(matches!(opened, OpenResult::Opened(_)), "{opened:?}");
    }
    assert!(given.take(executor, &wanted).await.is_empty());
    given.clock.advance(Duration::from_micros(500_000));
    assert_eq!(given.take(executor, &wanted).await.len(), 1);
    let mut of_the_model = all_of(&[pool]);
    of_the_model.accounts[0].pools[0].1 = pace(60);
    assert_eq!(given.take(executor, &of_the_model).await.len(), 1, "a model has a pace of its own");
}

pub async fn a_pool_keeps_its_pace_apart_from_others(given: &Given) {
    let [pool, other] = given.pools([MODEL, "other-model"]).await;
    let executor = given.executor().await;
    let jobs = claims(given, executor, pool, 3).await;
    for (claim, (pool, model)) in jobs.iter().zip([(pool, MODEL), (other, "other-model")]) {
        let opened = try_open(given, executor, claim, model, of_model(pool, pace(6))).await;
        assert!(matches!(opened, OpenResult::Opened(_)), "{opened:?}");
    }
    let again = try_open(given, executor, &jobs[2], MODEL, of_model(pool, pace(6))).await;
    assert_eq!(again, OpenResult::Paced(given.now() + Duration::from_secs(10)));
    given.queued_in(pool).await;
    let mut paced = all_of(&[]);
    paced.accounts[0].pools = vec![(pool, pace(6)), (other, Limits::NONE)];
    assert!(given.take(executor, &paced).await.is_empty());
    given.clock.advance(Duration::from_secs(10));
    assert_eq!(given.take(executor, &paced).await.len(), 1);
}
