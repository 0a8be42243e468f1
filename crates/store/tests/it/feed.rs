//! Cases: the feed and its tail.
//!
//! On a shared PostgreSQL server other tests' transactions may hold the feed back for a moment: what must come is waited
//! for, with a bound.

use std::collections::BTreeMap;
use std::time::Duration;

use longtake_core::feed::{FeedCursor, FeedEvent, FeedPage, Tail};
use longtake_core::id::{JobId, ProjectId};
use longtake_core::store::{NewJob, StoreError};
use longtake_testing::wait_until;

use crate::given::{Given, PROJECT};

/// Longest wait for an event to settle.
const BOUND: Duration = Duration::from_secs(30);
const OTHER: ProjectId = ProjectId(2);

pub type Place = (JobId, u32);

pub fn place(event: &FeedEvent) -> Place {
    (event.event.job, event.event.ver)
}

pub async fn now(given: &Given) -> FeedCursor {
    given.store.feed(None, None, 10).await.unwrap().next
}

async fn page(given: &Given, project: Option<ProjectId>, after: FeedCursor, limit: usize) -> FeedPage {
    given.store.feed(project, Some(after), limit).await.unwrap()
}

/// Pages of one size until `count` events came; then there are no more.
pub async fn all(
    given: &Given,
    project: Option<ProjectId>,
    from: FeedCursor,
    limit: usize,
    count: usize,
) -> Vec<(FeedCursor, FeedEvent)> {
    let (mut seen, mut after) = (Vec::new(), from);
    wait_until("the events settle", BOUND, async || {
        let page = page(given, project, after, limit).await;
        assert!(page.events.len() <= limit && page.next >= after, "{page:?}");
        after = page.next;
        seen.extend(page.events);
        seen.len() >= count && page.caught_up
    })
    .await;
    seen
}

async fn in_project(given: &Given, project: ProjectId) -> JobId {
    given.create(NewJob { project, ..given.new_job() }).await
}

/// Each job's numbers are 1, 2, 3 ….
pub fn assert_dense(events: &[Place]) {
    let mut newest: BTreeMap<JobId, u32> = BTreeMap::new();
    for (job, ver) in events {
        let before = newest.insert(*job, *ver).unwrap_or(0);
        assert_eq!(*ver, before + 1, "each event of {job} once and in order: {events:?}");
    }
}

pub async fn the_feed_tells_every_event_once_in_pages_of_any_size(given: &Given) {
    let from = now(given).await;
    let executor = given.executor().await;
    given.completed(executor, "p-1").await;
    given.running(executor, "p-2").await;
    given.completed(executor, "p-3").await;
    let whole = all(given, None, from, 100, 13).await;
    let places: Vec<Place> = whole.iter().map(|(_, event)| place(event)).collect();
    assert_eq!(places.len(), 13);
    assert_dense(&places);
    for (_, told) in &whole {
        assert_eq!(told.project, PROJECT);
        let kept = given.store.events_after(told.event.job, told.event.ver - 1, 1).await.unwrap();
        assert_eq!(kept, std::slice::from_ref(&told.event));
    }
    for limit in 1..=14 {
        assert_eq!(all(given, None, from, limit, 13).await, whole, "pages of {limit}");
    }
}

pub async fn a_cursor_resumes_behind_its_event(given: &Given) {
    let from = now(given).await;
    let executor = given.executor().await;
    given.completed(executor, "p-1").await;
    let whole = all(given, None, from, 100, 5).await;
    for (at, (cursor, _)) in whole.iter().enumerate() {
        let written: FeedCursor = cursor.to_string().parse().unwrap();
        assert_eq!(page(given, None, written, 100).await.events, whole[at + 1..], "behind event {at}");
    }
    let end = page(given, None, whole[4].0, 100).await;
    assert!(end.caught_up && end.events.is_empty());
    let later = given.queued().await;
    let more = all(given, None, end.next, 100, 1).await;
    assert_eq!(more.iter().map(|(_, event)| place(event)).collect::<Vec<_>>(), [(later, 1)]);
}

pub async fn the_feed_of_a_project_passes_over_the_others(given: &Given) {
    let from = now(given).await;
    let first = in_project(given, OTHER).await;
    for _ in 0..5 {
        in_project(given, PROJECT).await;
    }
    let last = in_project(given, OTHER).await;
    let seen = all(given, Some(OTHER), from, 100, 2).await;
    let seen: Vec<_> = seen.iter().map(|(_, event)| (event.project, place(event))).collect();
    assert_eq!(seen, [(OTHER, (first, 1)), (OTHER, (last, 1))]);
    // Where all of it is another's, there is nothing to tell, but a place further on.
    let other = page(given, Some(ProjectId(3)), from, 100).await;
    assert!(other.events.is_empty() && other.caught_up && other.next > from, "{other:?}");
    assert!(page(given, None, other.next, 100).await.events.is_empty());
}

pub async fn one_page_looks_at_no_more_than_it_may(given: &Given) {
    let from = now(given).await;
    let many: Vec<NewJob> = (0..FeedPage::MAX_SCAN + 10).map(|_| given.new_job()).collect();
    for batch in many.chunks(1_000) {
        given.store.create(batch.to_vec()).await.unwrap();
    }
    let own = in_project(given, OTHER).await;
    wait_until("the events settle", BOUND, async || {
        let after = page(given, Some(OTHER), from, 10).await;
        after.next > from && !after.caught_up
    })
    .await;
    let first = page(given, Some(OTHER), from, 10).await;
    assert!(first.events.is_empty() && !first.caught_up, "{first:?}");
    let passed = all(given, None, from, FeedPage::MAX_EVENTS, FeedPage::MAX_SCAN + 11).await;
    assert_eq!(first.next, passed[FeedPage::MAX_SCAN - 1].0);
    let second = all(given, Some(OTHER), first.next, 10, 1).await;
    assert_eq!(second.iter().map(|(_, event)| place(event)).collect::<Vec<_>>(), [(own, 1)]);
}

pub async fn a_cursor_of_another_history_is_refused(given: &Given) {
    given.queued().await;
    let here = now(given).await;
    let elsewhere = FeedCursor { epoch: here.epoch ^ 1, ..here };
    let ahead = FeedCursor { epoch: here.epoch, xid: here.xid + 1_000_000, seq: here.seq + 1_000_000 };
    for cursor in [elsewhere, ahead] {
        for project in [None, Some(PROJECT)] {
            let answer = given.store.feed(project, Some(cursor), 10).await;
            assert!(matches!(answer, Err(StoreError::Cursor)), "{cursor}: {answer:?}");
        }
        let answer = given.store.tail(Some(Tail::at(cursor))).await;
        assert!(matches!(answer, Err(StoreError::Cursor)), "{cursor}: {answer:?}");
    }
}

pub async fn the_tail_tells_each_event_once(given: &Given) {
    let executor = given.executor().await;
    given.queued().await;
    let (before, begin) = given.store.tail(None).await.unwrap();
    assert_eq!(before, [], "what was before is read from the feed");
    let mut old = given.acquire(executor).await;
    given.open(executor, &mut old).await;
    let (first, tail) = given.store.tail(Some(begin.clone())).await.unwrap();
    assert_eq!(first.iter().map(place).collect::<Vec<_>>(), [(old.work.job, 2)]);
    let (nothing, tail) = given.store.tail(Some(tail)).await.unwrap();
    assert_eq!(nothing, []);
    let claim = given.completed(executor, "p-2").await;
    let (second, end) = given.store.tail(Some(tail)).await.unwrap();
    let expected: Vec<Place> = (1..=5).map(|ver| (claim.work.job, ver)).collect();
    assert_eq!(second.iter().map(place).collect::<Vec<_>>(), expected);
    assert!(end.mark >= begin.mark);
    // An answer that was lost is asked for again.
    let (again, _) = given.store.tail(Some(begin)).await.unwrap();
    assert_eq!(again, [first, second].concat());
}

pub async fn the_tail_goes_on_behind_a_cursor(given: &Given) {
    let from = now(given).await;
    let executor = given.executor().await;
    given.completed(executor, "p-1").await;
    let whole = all(given, None, from, 100, 5).await;
    let (rest, tail) = given.store.tail(Some(Tail::at(whole[1].0))).await.unwrap();
    let expected: Vec<FeedEvent> = whole[2..].iter().map(|(_, event)| event.clone()).collect();
    assert_eq!(rest, expected);
    let later = given.queued().await;
    let (more, _) = given.store.tail(Some(tail)).await.unwrap();
    assert_eq!(more.iter().map(place).collect::<Vec<_>>(), [(later, 1)]);
}
