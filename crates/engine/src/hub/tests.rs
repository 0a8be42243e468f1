//! The hub over a scripted tail: who hears what, who is let go, and that nobody's absence costs a read.

use std::collections::VecDeque;
use std::pin::Pin;

use longtake_core::event::{EventKind, JobEvent, Snapshot};
use longtake_core::id::ProjectId;
use longtake_core::state::StateName;
use longtake_core::time::Timestamp;
use tokio::sync::Semaphore;

use super::*;

/// Each sleep takes one tick.
struct Ticks(Arc<Semaphore>);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let ticks = Arc::clone(&self.0);
        Box::pin(async move { ticks.acquire().await.unwrap().forget() })
    }
}

/// What the tail tells: all that was appended, by position; or the failures set for the next reads.
#[derive(Default)]
struct Script {
    log: Vec<FeedEvent>,
    failures: VecDeque<StoreError>,
    reads: usize,
}

struct Given {
    hub: Hub,
    script: Arc<Mutex<Script>>,
    ticks: Arc<Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

fn cursor(seq: usize) -> FeedCursor {
    FeedCursor { epoch: 1, xid: 0, seq: u64::try_from(seq).unwrap() }
}

fn job(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

impl Given {
    fn new(interval: Option<Duration>) -> Self {
        let (hub, script, ticks) = (Hub::every(interval), Arc::<Mutex<Script>>::default(), Arc::new(Semaphore::new(0)));
        let (source, clock) = (Arc::clone(&script), Ticks(Arc::clone(&ticks)));
        let read = move |after: Option<Tail>| {
            let mut script = source.lock().unwrap();
            script.reads += 1;
            let answer = match script.failures.pop_front() {
                Some(failure) => Err(failure),
                None => {
                    let from = after.map_or(script.log.len(), |tail| usize::try_from(tail.mark.seq).unwrap());
                    Ok((script.log[from..].to_vec(), Tail::at(cursor(script.log.len()))))
                }
            };
            async move { answer }
        };
        let follower = hub.clone();
        let task = tokio::spawn(async move { follower.follow_with(read, &clock).await });
        Self { hub, script, ticks, task }
    }

    fn polled() -> Self {
        Self::new(Some(Duration::from_millis(50)))
    }

    /// Becomes visible.
    fn append(&self, project: i64, job: JobId, ver: u32) {
        let snapshot = Snapshot {
            state: StateName::Running,
            attempt: None,
            progress: 0,
            progress_source: None,
            failure: None,
            finished_at: None,
            cancel: None,
            output: None,
        };
        let event = JobEvent { job, ver, kind: EventKind::Progress, at: Timestamp::from_micros(0), snapshot };
        self.script.lock().unwrap().log.push(FeedEvent { project: ProjectId(project), event });
    }

    /// Is committed by this process.
    fn commit(&self, project: i64, job: JobId, ver: u32) {
        self.append(project, job, ver);
        self.hub.committed(&[(job, ver)]);
    }

    fn fail(&self, failure: StoreError) {
        self.script.lock().unwrap().failures.push_back(failure);
    }

    fn tick(&self) {
        self.ticks.add_permits(1);
    }

    fn reads(&self) -> usize {
        self.script.lock().unwrap().reads
    }

    /// Lets the task run until it waits again: on one thread a few rounds are enough for all that was made ready.
    async fn settle(&self) {
        for _ in 0..32 {
            tokio::task::yield_now().await;
        }
        assert!(!self.task.is_finished());
    }
}

fn seen(told: &Told) -> Option<(u8, u32)> {
    told.event.as_ref().map(|told| (told.event.job.as_bytes()[0], told.event.ver))
}

#[tokio::test]
async fn commits_reach_the_feed_at_once_and_in_order() {
    let given = Given::new(None);
    given.commit(1, job(1), 1);
    let mut feed = given.hub.subscribe_feed(None);
    feed.begun().await.unwrap();
    given.commit(1, job(1), 2);
    given.commit(2, job(2), 1);
    assert_eq!(seen(&feed.next().await.unwrap()), Some((1, 2)), "what came before is read from the store");
    let last = feed.next().await.unwrap();
    assert_eq!((seen(&last), last.mark), (Some((2, 1)), cursor(3)));
}

#[tokio::test]
async fn without_listeners_nothing_is_read() {
    for given in [Given::new(None), Given::polled()] {
        given.commit(1, job(1), 1);
        given.ticks.add_permits(100);
        given.settle().await;
        assert_eq!(given.reads(), 0);
        let mut feed = given.hub.subscribe_feed(None);
        feed.begun().await.unwrap();
        assert_eq!(given.hub.feed_listeners(), 1);
        drop(feed);
        given.settle().await;
        assert_eq!(given.hub.feed_listeners(), 0);
        let reads = given.reads();
        given.commit(1, job(1), 2);
        given.ticks.add_permits(100);
        given.settle().await;
        assert_eq!(given.reads(), reads, "the last one left");
    }
}

#[tokio::test]
async fn hints_for_jobs_need_no_read_where_commits_tell() {
    let given = Given::new(None);
    let mut subscription = given.hub.subscribe(job(1));
    given.commit(1, job(1), 1);
    subscription.changed().await;
    given.settle().await;
    assert_eq!(given.reads(), 0);
}

#[tokio::test]
async fn what_other_machines_commit_is_heard_at_the_next_look() {
    let given = Given::polled();
    let mut subscription = given.hub.subscribe(job(1));
    subscription.changed().await; // begun: what was committed before that is read again
    let mut feed = given.hub.subscribe_feed(None);
    feed.begun().await.unwrap();
    given.append(1, job(1), 1);
    given.settle().await;
    given.tick();
    subscription.changed().await;
    assert_eq!(seen(&feed.next().await.unwrap()), Some((1, 1)));
}

#[tokio::test]
async fn a_listener_hears_its_project_and_how_far_the_others_are() {
    let given = Given::new(None);
    let mut feed = given.hub.subscribe_feed(Some(ProjectId(1)));
    feed.begun().await.unwrap();
    given.append(2, job(2), 1);
    given.append(1, job(1), 1);
    given.append(1, job(1), 2);
    given.commit(2, job(2), 2);
    let one = feed.next().await.unwrap();
    assert_eq!((seen(&one), one.mark), (Some((1, 1)), cursor(0)), "its sibling has not been told yet");
    let two = feed.next().await.unwrap();
    assert_eq!((seen(&two), two.mark), (Some((1, 2)), cursor(4)));
    given.commit(2, job(2), 3);
    let quiet = feed.next().await.unwrap();
    assert_eq!((seen(&quiet), quiet.mark), (None, cursor(5)));
}

#[tokio::test]
async fn a_slow_listener_is_let_go_and_hinders_no_other() {
    let given = Given::new(None);
    let mut slow = given.hub.subscribe_feed(None);
    let mut quick = given.hub.subscribe_feed(None);
    slow.begun().await.unwrap();
    quick.begun().await.unwrap();
    for ver in 1..=u32::try_from(Hub::MAX_WAITING).unwrap() + 1 {
        given.commit(1, job(1), ver);
        assert_eq!(seen(&quick.next().await.unwrap()), Some((1, ver)));
    }
    assert_eq!(given.hub.feed_listeners(), 1);
    let mut last = 0;
    let end = loop {
        match slow.next().await {
            Ok(told) => {
                last += 1;
                assert_eq!(seen(&told), Some((1, last)), "what was waiting still comes");
            }
            Err(end) => break end,
        }
    };
    assert_eq!((usize::try_from(last).unwrap(), end), (Hub::MAX_WAITING, FeedEnd::TooSlow));
}

#[tokio::test]
async fn marks_alone_fill_no_queue() {
    let given = Given::new(None);
    let mut feed = given.hub.subscribe_feed(Some(ProjectId(1)));
    feed.begun().await.unwrap();
    for ver in 1..=5_000 {
        given.commit(2, job(2), ver);
        given.settle().await;
    }
    given.commit(1, job(1), 1);
    assert_eq!(seen(&feed.next().await.unwrap()), None, "one of the marks");
    assert_eq!(seen(&feed.next().await.unwrap()), Some((1, 1)));
}

#[tokio::test]
async fn a_failed_read_is_repeated_from_the_same_note() {
    let given = Given::new(None);
    given.fail(StoreError::Failed("the database restarts".into()));
    let mut feed = given.hub.subscribe_feed(None);
    given.tick();
    feed.begun().await.unwrap();
    for _ in 0..3 {
        given.fail(StoreError::Failed("the database restarts".into()));
    }
    given.commit(1, job(1), 1);
    given.commit(1, job(1), 2);
    given.ticks.add_permits(3);
    assert_eq!(seen(&feed.next().await.unwrap()), Some((1, 1)));
    assert_eq!(seen(&feed.next().await.unwrap()), Some((1, 2)));
}

#[tokio::test]
async fn a_note_that_holds_no_more_lets_all_go_and_the_next_begin_anew() {
    let given = Given::polled();
    let mut subscription = given.hub.subscribe(job(1));
    subscription.changed().await;
    let mut feed = given.hub.subscribe_feed(None);
    feed.begun().await.unwrap();
    given.fail(StoreError::Cursor);
    given.tick();
    assert_eq!(feed.next().await.unwrap_err(), FeedEnd::Restarted);
    subscription.changed().await; // reads again what it may have missed
    let mut feed = given.hub.subscribe_feed(None);
    feed.begun().await.unwrap();
    given.append(1, job(1), 1);
    given.tick();
    assert_eq!(seen(&feed.next().await.unwrap()), Some((1, 1)));
}
