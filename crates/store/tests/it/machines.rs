//! Cases: executors of several processes, what becomes of those that fall silent, and history that may be missing.

use std::time::Duration;

use longtake_core::attempt::AttemptState;
use longtake_core::id::{AccountId, ExecutorId};
use longtake_core::state::JobState;
use longtake_core::store::{Beat, OpenResult, Share};
use longtake_core::time::Timestamp;

use crate::given::{ACCOUNT, Given, MODEL, PROJECT, all_of, info, placed, wanted};

const TTL: Duration = Duration::from_secs(15);
const OTHER: AccountId = AccountId(2);

/// One that took a job and was given up since.
async fn lost(given: &Given) -> ExecutorId {
    let executor = given.executor().await;
    given.submitting(executor).await;
    given.clock.advance(TTL + Duration::from_secs(1));
    let reaped = given.store.reap(100).await.unwrap();
    assert_eq!(reaped, usize::from(!given.alone));
    executor
}

pub async fn a_fair_share_is_told_where_several_drive_an_account(given: &Given) {
    let (one, two, three) = (given.executor().await, given.executor().await, given.executor().await);
    let alone = given.store.beat(one, vec![(ACCOUNT, 7), (OTHER, 3)]).await.unwrap();
    assert_eq!(alone, Beat::Alive(Vec::new()), "nobody to share with");
    assert_eq!(given.store.beat(three, vec![(OTHER, 0)]).await.unwrap(), shares(given, &[(OTHER, 2, 2)]));
    assert_eq!(given.store.beat(two, vec![(ACCOUNT, 2)]).await.unwrap(), shares(given, &[(ACCOUNT, 5, 2)]));
    let both = given.store.beat(one, vec![(ACCOUNT, 2), (OTHER, 3)]).await.unwrap();
    assert_eq!(both, shares(given, &[(ACCOUNT, 2, 2), (OTHER, 2, 2)]));
    given.store.beat(two, Vec::new()).await.unwrap();
    let left = given.store.beat(one, vec![(ACCOUNT, 2), (OTHER, 3)]).await.unwrap();
    assert_eq!(left, shares(given, &[(OTHER, 2, 2)]), "who drives it no more has no share");
}

fn shares(given: &Given, shares: &[(AccountId, u32, u32)]) -> Beat {
    let share = |(account, rows, executors): &(AccountId, u32, u32)| Share {
        account: *account,
        rows: *rows,
        executors: *executors,
    };
    Beat::Alive(if given.alone { Vec::new() } else { shares.iter().map(share).collect() })
}

pub async fn the_silent_are_given_up_and_their_rows_taken(given: &Given) {
    let (one, two) = (given.executor().await, given.executor().await);
    let claim = given.submitting(one).await;
    given.store.beat(one, Vec::new()).await.unwrap();
    given.store.beat(two, Vec::new()).await.unwrap();
    given.clock.advance(TTL);
    assert_eq!(given.store.reap(100).await.unwrap(), 0, "silent for its ttl and no longer");
    given.store.beat(two, Vec::new()).await.unwrap();
    given.clock.advance(Duration::from_millis(1));
    assert_eq!(given.store.reap(100).await.unwrap(), usize::from(!given.alone));
    given.queued().await;
    if given.alone {
        assert_eq!(given.store.beat(one, Vec::new()).await.unwrap(), Beat::Alive(Vec::new()));
        assert_eq!(given.store.owned(one).await.unwrap(), [(claim.work, claim.fence)]);
        return;
    }
    assert_eq!(given.store.beat(one, Vec::new()).await.unwrap(), Beat::Dead);
    assert!(given.store.acquire(one, &wanted(10)).await.unwrap().is_empty(), "nobody would take it from there");
    assert!(given.store.owned(one).await.unwrap().is_empty());
    let taken = given.store.acquire(two, &wanted(10)).await.unwrap();
    assert_eq!((taken.len(), taken[0].work), (2, claim.work));
    assert!(taken[0].fence.0 >= claim.fence.0 + 2);
    assert!(!given.store.sender_is_dead(one).await.unwrap(), "a missed beat proves nothing");
}

pub async fn only_one_that_was_given_up_is_confirmed_dead(given: &Given) {
    let gone = lost(given).await;
    let alive = given.executor().await;
    assert!(!given.store.confirm_dead(alive).await.unwrap(), "it beats");
    assert!(!given.store.confirm_dead(ExecutorId(alive.0 + 1_000)).await.unwrap());
    assert!(!given.store.sender_is_dead(alive).await.unwrap());
    assert_eq!(given.store.confirm_dead(gone).await.unwrap(), !given.alone);
    assert_eq!(given.store.confirm_dead(gone).await.unwrap(), !given.alone, "again");
    assert_eq!(given.store.sender_is_dead(gone).await.unwrap(), !given.alone);
}

pub async fn executors_are_listed_newest_first(given: &Given) {
    let started_at = given.now();
    let gone = lost(given).await;
    let lost_at = given.now();
    let alive = given.executor().await;
    given.clock.advance(Duration::from_secs(1));
    given.store.beat(alive, Vec::new()).await.unwrap();
    given.store.confirm_dead(gone).await.unwrap();
    let rows = given.store.executors(10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.executor).collect::<Vec<_>>(), [alive, gone]);
    assert_eq!((&rows[0].process, rows[0].started_at, rows[0].beat_at), (&info().process, lost_at, given.now()));
    assert_eq!((rows[0].dead_at, rows[0].process_dead_at, rows[0].in_doubt), (None, None, 0));
    assert_eq!((rows[1].started_at, rows[1].beat_at, rows[1].in_doubt), (started_at, started_at, 1));
    let dead = (!given.alone).then_some(lost_at);
    assert_eq!((rows[1].dead_at, rows[1].process_dead_at), (dead, dead.map(|_| given.now())));
    assert_eq!(given.store.executors(1).await.unwrap(), rows[..1]);
}

pub async fn work_that_nobody_serves_is_anyones(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let waiting = given.queued_in(pool).await;
    let executor = given.executor().await;
    let claim = given.store.acquire(executor, &all_of(&[pool])).await.unwrap().remove(0);
    let later = given.now() + Duration::from_secs(86_400);
    given.store.release(executor, vec![placed(&claim, later, pool, true)]).await.unwrap();
    given.store.beat(executor, vec![(ACCOUNT, 1)]).await.unwrap();
    given.clock.advance(Duration::from_secs(599));
    given.store.reap(100).await.unwrap();
    let other = given.executor().await;
    assert!(given.take(other, &wanted(10)).await.is_empty(), "it was served lately");
    given.clock.advance(Duration::from_secs(2));
    given.store.reap(100).await.unwrap();
    if given.alone {
        // One process serves what it registers, and nobody else serves the rest.
        given.store.register_pools(vec![(ACCOUNT, "other-model".into())]).await.unwrap();
    }
    assert_eq!(given.take(other, &wanted(10)).await, [waiting]);
}

pub async fn what_waits_for_news_only_stays_in_its_pool(given: &Given) {
    let [pool] = given.pools([MODEL]).await;
    let job = given.queued_in(pool).await;
    let executor = given.executor().await;
    let claim = given.store.acquire(executor, &all_of(&[pool])).await.unwrap().remove(0);
    given.store.release(executor, vec![placed(&claim, Timestamp::NEVER, pool, false)]).await.unwrap();
    given.clock.advance(Duration::from_secs(700));
    given.store.reap(100).await.unwrap();
    if given.alone {
        given.store.register_pools(vec![(ACCOUNT, "other-model".into())]).await.unwrap();
    }
    let other = given.executor().await;
    assert!(given.take(other, &wanted(10)).await.is_empty(), "there is nothing to look at");
    given.store.request_cancel(PROJECT, job).await.unwrap();
    assert!(given.take(other, &wanted(10)).await.is_empty());
    assert_eq!(given.take(other, &all_of(&[pool])).await, [job]);
}

pub async fn pools_keep_their_numbers(given: &Given) {
    let named = |account: AccountId, model: &str| (account, model.into());
    let accounts = vec![("a".to_owned(), "x".to_owned()), ("b".to_owned(), "x".to_owned())];
    let accounts = given.store.register_accounts(accounts).await.unwrap();
    let (a, b) = (accounts[0], accounts[1]);
    let first = given.store.register_pools(vec![named(a, "m"), named(b, "m"), named(a, "n")]).await.unwrap();
    assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
    assert!(first.iter().all(|pool| pool.0 > 0), "0 is no pool");
    let again = given.store.register_pools(vec![named(a, "n"), named(b, "n"), named(a, "m"), named(a, "n")]).await;
    let again = again.unwrap();
    assert_eq!((again[0], again[2], again[3]), (first[2], first[0], first[2]));
    assert!(!first.contains(&again[1]));
}

pub async fn history_that_may_be_missing_is_doubted(given: &Given) {
    assert_eq!(given.store.now().await.unwrap(), given.now());
    assert_eq!(given.store.quarantine().await.unwrap(), None);
    let executor = given.executor().await;
    given.queued().await;
    given.clock.advance(Duration::from_secs(1));
    let until = given.store.set_quarantine().await.unwrap();
    assert_eq!((until, given.store.quarantine().await.unwrap()), (given.now(), Some(until)));
    given.queued().await;
    let claims = given.store.acquire(executor, &wanted(10)).await.unwrap();
    let intents = claims.iter().map(|claim| given.intent(executor, claim)).collect();
    let answers = given.store.open_attempts(executor, intents).await.unwrap();
    let [OpenResult::Doubted(old), OpenResult::Opened(young)] = &answers[..] else { panic!("{answers:?}") };
    assert!(matches!(old.state, JobState::Verifying { .. }), "{old:?}");
    assert!(matches!(young.state, JobState::Submitting { .. }), "{young:?}");
    let doubted = given.attempt(old.job, 1).await;
    assert_eq!((doubted.state, doubted.executor), (AttemptState::Unknown, ExecutorId::LOST));
    assert_eq!((old.attempt.as_ref(), given.record(old.job).await), (Some(&doubted), old.clone()));
    given.clock.advance(Duration::from_secs(1));
    assert_eq!(given.store.set_quarantine().await.unwrap(), given.now(), "the newest counts");
    assert_eq!(given.store.quarantine().await.unwrap(), Some(given.now()));
}
