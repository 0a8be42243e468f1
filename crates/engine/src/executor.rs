//! Owns work for one incarnation of this process.
//!
//! Acquires due work in batches and keeps each piece until it ends, is handed back or this incarnation is given up.
//! Timers live in memory: an hour of rendering holds no task, no transaction and writes nothing.
//! Invariants: no SQL, no HTTP; every call has a deadline, and none starts outside the trust window.

mod batches;
mod drain;
mod look;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use longtake_core::id::{AccountId, ExecutorId, Fence};
use longtake_core::step::{Step, next_step};
use longtake_core::store::{Beat, Place, Share, StoreError, WorkKey, WorkKind};
use longtake_core::time::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};

use crate::admission::Admission;
use crate::config::{EngineConfig, Parts};
use crate::context::{Context, Fallen, StoreTime, Trust};
use crate::metrics::{EngineMetrics, add, set};
use crate::owned::Owned;
use crate::steps::perform;
use crate::task::{Done, Next, Task};
use batches::start_batches;
pub(crate) use batches::start_evidence;
use look::Look;

/// How often work that this executor owns but does not remember is looked for.
const ADOPT_EVERY: Duration = Duration::from_secs(300);
/// How soon work that a broken step left behind is looked for.
const ADOPT_SOON: Duration = Duration::from_secs(2);
/// How soon the queue of a full account is asked again although nothing was freed here.
const FULL_FOR: Duration = Duration::from_secs(1);
/// Longest time for which an account's pace is believed to be used up.
const LONGEST_PACE: Duration = Duration::from_secs(10);
/// Shortest time between two looks for work: hints come in swarms.
const LOOK_GAP: Duration = Duration::from_millis(5);
/// Longest timer: wall clocks may jump, so far deadlines are looked at again.
const LONGEST_TIMER: Duration = Duration::from_secs(3600);
/// The store's time is known this well: a deadline is looked at a little after it, never just before it.
const TIME_DOUBT: Duration = Duration::from_millis(300);
/// Rows handed back in one call.
const RELEASE_BATCH: usize = 500;
/// Rows of dead executors taken by one call, and such calls in a row: a hundred machines' worth of work.
const REAP_BATCH: usize = 5_000;
const MAX_REAP_CALLS: usize = 2_000;
/// Seconds' worth of polls that may go out at once to a paced account.
const POLL_BURST_SECS: u32 = 5;

/// Why an incarnation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to stop and handed everything back.
    Stopped,
    /// The others gave it up: its claims are worthless.
    Dead,
}

enum Message {
    Stop,
    Done(Done),
    Look(Look),
    Beat { asked_at: Duration, answer: Result<Beat, StoreError> },
    Reaped,
}

pub(crate) struct Executor {
    context: Arc<Context>,
    owned: Owned,
    admission: Admission,
    pace: BTreeMap<AccountId, Duration>,
    /// What is fair where other executors drive an account too, as told by the last beat.
    shares: BTreeMap<AccountId, Share>,
    /// What was owned of each account when it told so last.
    told: BTreeMap<AccountId, u32>,
    /// When the queue of an account that is owned in excess was last asked all the same.
    asked: BTreeMap<AccountId, Duration>,
    /// Accounts with a limit: a freed slot lets another job in.
    limited: BTreeSet<AccountId>,
    /// Accounts whose provider calls back.
    calling_back: Vec<AccountId>,
    /// The account whose queue is asked first by the next look.
    first: usize,
    calls: JoinSet<Message>,
    sends: JoinSet<Message>,
    /// Which work a task drives, for the one that panics.
    drives: HashMap<Id, (WorkKey, Fence)>,
    /// To which account a submission under way goes.
    senders: HashMap<Id, AccountId>,
    batches: JoinSet<()>,
    /// Idle work to be given back by the next look: looks are the only ones that take news, so none falls between.
    returns: BTreeMap<WorkKey, (Timestamp, Place)>,
    /// Own work whose news may have been lost on the way: to be read again, some of it by each look.
    to_reread: Vec<WorkKey>,
    wake: Arc<Notify>,
    looking: bool,
    /// The queue may hold more than was taken.
    hungry: bool,
    beating: bool,
    reaping: bool,
    look_at: Duration,
    looked_at: Duration,
    /// When own work was last asked for news between two looks.
    news_at: Duration,
    beat_at: Duration,
    adopt_at: Duration,
}

impl Executor {
    pub fn new(
        parts: Parts,
        executor: ExecutorId,
        metrics: Arc<EngineMetrics>,
        wake: Arc<Notify>,
        (registered_at, time): (Duration, Arc<StoreTime>),
        fallen: Fallen,
    ) -> Self {
        let mut batches = JoinSet::new();
        let (opens, evidence, steps) = start_batches(&mut batches, &parts.store, executor);
        let trust = Trust::default();
        let config = &parts.config;
        let now = registered_at;
        trust.extend(now + config.ttl.saturating_sub(config.margin));
        let beat = config.beat;
        let accounts = parts.accounts.values().filter(|entry| entry.drives).count();
        let admission = Admission::new(config.max_inflight_sends, accounts);
        let limited = (parts.accounts.iter().filter(|(_, entry)| entry.limits.any()).map(|(account, _)| *account))
            .chain(parts.routes.values().flatten().filter(|route| route.limits.any()).map(|route| route.account))
            .collect();
        let drive = parts.accounts.iter().filter(|(_, entry)| entry.drives);
        let calling_back = drive.filter(|(account, entry)| entry.provider.profile(**account).callback);
        let calling_back = calling_back.map(|(account, _)| *account).collect();
        let context = Arc::new(Context { parts, executor, trust, time, fallen, metrics, opens, evidence, steps });
        Self {
            context,
            owned: Owned::default(),
            admission,
            pace: BTreeMap::new(),
            shares: BTreeMap::new(),
            told: BTreeMap::new(),
            asked: BTreeMap::new(),
            limited,
            calling_back,
            first: 0,
            calls: JoinSet::new(),
            sends: JoinSet::new(),
            drives: HashMap::new(),
            senders: HashMap::new(),
            batches,
            returns: BTreeMap::new(),
            to_reread: Vec::new(),
            wake,
            looking: false,
            hungry: false,
            beating: false,
            reaping: false,
            look_at: now,
            looked_at: Duration::ZERO,
            news_at: Duration::ZERO,
            beat_at: now + beat,
            adopt_at: now + ADOPT_EVERY,
        }
    }

    fn now(&self) -> Duration {
        self.context.parts.clock.monotonic()
    }

    fn config(&self) -> &EngineConfig {
        &self.context.parts.config
    }

    /// Drives work until told to stop or given up. After `Dead`, submissions under way still hand in their evidence: see the sends it returns.
    pub async fn run(mut self, stop: &mut watch::Receiver<bool>) -> (Ended, Option<(JoinSet<()>, JoinSet<()>)>) {
        loop {
            self.begin_due();
            let wake = self.wake.clone();
            let timer = self.context.parts.clock.sleep(self.next_timer());
            let message = tokio::select! {
                biased;
                () = told_to_stop(stop) => Some(Message::Stop),
                Some(ended) = self.sends.join_next_with_id() => {
                    self.end_send(&ended);
                    self.unwrap(ended)
                }
                Some(ended) = self.calls.join_next_with_id() => self.unwrap(ended),
                () = wake.notified() => {
                    self.look_soon();
                    None
                }
                () = timer => None,
            };
            match message {
                None => {}
                Some(Message::Stop) => {
                    self.drain().await;
                    return (Ended::Stopped, None);
                }
                Some(Message::Done(done)) => self.take_back(done),
                Some(Message::Look(look)) => self.take_look(look),
                Some(Message::Reaped) => self.reaping = false,
                Some(Message::Beat { asked_at, answer }) => {
                    self.beating = false;
                    match answer {
                        Ok(Beat::Alive(shares)) => {
                            let fair = shares.iter().map(|share| share.rows).fold(0, u32::saturating_add);
                            set(&self.context.metrics.fair_share, usize::try_from(fair).unwrap_or(usize::MAX));
                            self.shares = shares.into_iter().map(|share| (share.account, share)).collect();
                            let config = self.config();
                            let until = asked_at + config.ttl.saturating_sub(config.margin);
                            self.context.trust.extend(until);
                        }
                        Ok(Beat::Dead) => return (Ended::Dead, Some(self.abandon())),
                        Err(error) => tracing::warn!(%error, "the executor could not show that it lives"),
                    }
                }
            }
        }
    }

    /// A look as soon as the last one is a moment ago.
    fn look_soon(&mut self) {
        self.look_at = self.look_at.min(self.now().max(self.looked_at + LOOK_GAP));
    }

    fn end_send(&mut self, ended: &Result<(Id, Message), JoinError>) {
        let id = match ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        if let Some(account) = self.senders.remove(&id) {
            self.admission.sent(account);
        }
        if self.hungry && self.admission.room() > 0 {
            self.look_soon();
        }
    }

    /// A task's message; of one that panicked the work is found again by adoption.
    fn unwrap(&mut self, ended: Result<(Id, Message), JoinError>) -> Option<Message> {
        match ended {
            Ok((id, message)) => {
                self.drives.remove(&id);
                Some(message)
            }
            Err(error) => {
                tracing::error!(%error, "a step broke off, its work is taken up again");
                match self.drives.remove(&error.id()) {
                    Some((work, fence)) => {
                        self.owned.end_busy(work, fence);
                        self.adopt_at = self.now() + ADOPT_SOON;
                    }
                    None => (self.looking, self.beating, self.reaping) = (false, false, false),
                }
                None
            }
        }
    }

    /// How long nothing happens by itself.
    fn next_timer(&self) -> Duration {
        let now = self.now();
        let mut next = now + LONGEST_TIMER;
        if !self.looking {
            next = next.min(self.look_at).min(self.adopt_at);
            next = self.next_news().map_or(next, |at| next.min(at));
        }
        if !self.beating {
            next = next.min(self.beat_at);
        }
        if !self.looking && self.hungry {
            next = self.admission.next_opening(now).map_or(next, |at| next.min(at));
        }
        if self.calls.len() < self.config().concurrency && self.context.trust.holds(now) {
            next = self.owned.next_at().map_or(next, |at| next.min(at));
        }
        next.saturating_sub(now)
    }

    /// Begins everything whose time has come and which there is room for.
    fn begin_due(&mut self) {
        let now = self.now();
        if !self.beating && self.beat_at <= now {
            self.begin_beat(now);
        }
        if !self.looking && (self.look_at <= now || self.adopt_at <= now) {
            self.begin_look(now);
        } else if !self.looking && self.next_news().is_some_and(|at| at <= now) {
            self.begin_news_look(now);
        }
        if !self.context.trust.holds(now) {
            return;
        }
        while self.calls.len() < self.config().concurrency {
            let Some(task) = self.owned.take_due(now) else { break };
            self.begin(task, now);
        }
        while let Some((account, work)) = self.admission.take_next() {
            match self.owned.take(work) {
                Some(task) => self.spawn_send(account, task),
                None => self.admission.sent(account), // finished or busy with something else meanwhile
            }
        }
        self.show();
    }

    fn show(&self) {
        let metrics = &self.context.metrics;
        set(&metrics.owned, self.owned.len());
        set(&metrics.calls_in_flight, self.calls.len() + self.sends.len());
        set(&metrics.sends_in_flight, self.admission.sends());
        set(&metrics.waiting_for_account, self.admission.waiting());
    }

    fn begin(&mut self, mut task: Box<Task>, now: Duration) {
        let step = match task.work.kind {
            WorkKind::Drive if !task.memory.stale => next_step(&task.record, self.context.now()),
            WorkKind::Drive | WorkKind::Watch => Some(Step::Poll),
        };
        match step {
            Some(Step::Submit) => self.queue(task, now),
            Some(Step::Poll) if self.is_excess(&task) => {
                let place = self.context.place(&task, false);
                self.owned.end_busy(task.work, task.fence);
                self.hand_back(task, self.context.now(), place);
            }
            Some(Step::Poll | Step::Verify) => {
                if let Some(wait) = self.pace(&mut task, now) {
                    self.owned.end_busy(task.work, task.fence);
                    self.owned.put(task, now + wait);
                    return;
                }
                let lag = now.saturating_sub(task.memory.planned_at);
                add(&self.context.metrics.poll_lag_ms_sum, u64::try_from(lag.as_millis()).unwrap_or(0));
                self.spawn_call(task);
            }
            _ => self.spawn_call(task),
        }
    }

    /// Whether others should poll this instead of us. Who takes it polls it once first: however wrong the shares are,
    /// what is passed around is polled.
    fn is_excess(&self, task: &Task) -> bool {
        task.memory.polls > 0 && task.account.is_some_and(|account| self.has_excess(account))
    }

    /// Keeps it until the next look gives it back.
    fn hand_back(&mut self, task: Box<Task>, due_at: Timestamp, place: Place) {
        let now = self.now();
        self.returns.insert(task.work, (due_at, place));
        self.owned.put(task, now + LONGEST_TIMER);
        self.look_soon();
    }

    /// Lets a job wait for its submission; it stays idle meanwhile, so a cancel or its deadline finds it.
    fn queue(&mut self, task: Box<Task>, now: Duration) {
        let account = self.context.next_route(&task, &task.record.model).map(|route| route.account);
        let Some(account) = account else {
            self.spawn_call(task); // says why it cannot be driven
            return;
        };
        self.admission.wait(account, task.record.priority, task.work);
        self.owned.end_busy(task.work, task.fence);
        let at = self.wake_up_at(&task, now, LONGEST_TIMER);
        self.owned.put(task, at);
    }

    /// The wait until the account's pace allows one more call; `None` if it may begin.
    fn pace(&mut self, task: &mut Task, now: Duration) -> Option<Duration> {
        if std::mem::take(&mut task.memory.paced) {
            return None;
        }
        let attempt = task.attempt()?;
        let (account, entry) = (attempt.account, self.context.entry(attempt)?);
        let per_minute = entry.provider.profile(account).polls_per_minute;
        if per_minute == 0 {
            return None;
        }
        // The pace is the account's, so executors that drive it share it.
        let sharing = self.shares.get(&account).map_or(1, |share| share.executors);
        let per_minute = (per_minute / sharing).max(1);
        let interval = Duration::from_secs(60) / per_minute;
        let burst = interval * (per_minute * POLL_BURST_SECS / 60).max(1);
        let turn = self.pace.entry(account).or_default();
        *turn = (*turn).max(now.saturating_sub(burst)) + interval;
        let wait = turn.saturating_sub(now);
        task.memory.paced = !wait.is_zero();
        task.memory.paced.then_some(wait)
    }

    fn spawn_call(&mut self, task: Box<Task>) {
        let (context, drives) = (self.context.clone(), (task.work, task.fence));
        let handle = self.calls.spawn(async move { Message::Done(perform(context, *task).await) });
        self.drives.insert(handle.id(), drives);
    }

    fn spawn_send(&mut self, account: AccountId, task: Box<Task>) {
        let (context, drives) = (self.context.clone(), (task.work, task.fence));
        let handle = self.sends.spawn(async move { Message::Done(perform(context, *task).await) });
        self.drives.insert(handle.id(), drives);
        self.senders.insert(handle.id(), account);
    }

    fn begin_beat(&mut self, now: Duration) {
        self.beating = true;
        self.beat_at = now + self.config().beat;
        let context = self.context.clone();
        let driven = context.parts.accounts.iter().filter(|(_, entry)| entry.drives);
        let load: Vec<_> = driven.map(|(account, _)| (*account, self.owned.of(*account))).collect();
        self.told = load.iter().copied().collect();
        self.calls.spawn(async move {
            let asked_at = context.parts.clock.monotonic();
            let answer = context.parts.store.beat(context.executor, load).await;
            if let Err(error) = context.time.learn(&*context.parts.store, &*context.parts.clock).await {
                tracing::debug!(%error, "the store's time could not be asked for");
            }
            Message::Beat { asked_at, answer }
        });
        self.begin_reap();
    }

    /// Looks for dead executors and takes all they owned, in bounded calls; the sign of life does not wait for it.
    fn begin_reap(&mut self) {
        if std::mem::replace(&mut self.reaping, true) {
            return;
        }
        let context = self.context.clone();
        self.calls.spawn(async move {
            for _ in 0..MAX_REAP_CALLS {
                match context.parts.store.reap(REAP_BATCH).await {
                    Ok(taken) if taken >= REAP_BATCH => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(%error, "dead executors could not be looked for");
                        break;
                    }
                }
            }
            Message::Reaped
        });
    }

    /// Takes the rest of a step back and sets its timer.
    fn take_back(&mut self, done: Done) {
        let woken = self.owned.end_busy(done.work, done.fence);
        if let Some(account) = done.freed {
            self.admission.freed(account);
            if self.hungry || self.limited.contains(&account) {
                self.look_soon();
            }
        }
        let (Some((mut task, next)), Some(woken)) = (done.rest, woken) else { return };
        let now = self.now();
        task.memory.stale |= woken;
        task.account = self.context.account_of(&task);
        let at = match next {
            _ if woken => now,
            Next::Now => now,
            Next::After(wait) => self.wake_up_at(&task, now, wait),
            Next::Queue(account, again) => {
                // Told by the database's clock: ours may be another, so it is believed for a while only.
                let wait = again.map_or(FULL_FOR, |again| again.since(self.context.now()).min(LONGEST_PACE));
                self.admission.close(account, now + wait);
                self.hungry = true;
                let due_at = task.record.deadline_at.unwrap_or(Timestamp::NEVER);
                let place = self.context.place(&task, true);
                return self.hand_back(task, due_at, place);
            }
            Next::HandBack(due_at) => {
                let place = self.context.place(&task, false);
                return self.hand_back(task, due_at, place);
            }
        };
        self.owned.put(task, at);
    }

    /// After a wait, or at the client's deadline if that comes first.
    fn wake_up_at(&self, task: &Task, now: Duration, wait: Duration) -> Duration {
        let wait = wait.min(LONGEST_TIMER);
        let wall = self.context.now();
        let deadline = task.record.deadline_at.filter(|at| task.work.kind == WorkKind::Drive && *at > wall);
        now + deadline.map_or(wait, |at| wait.min(at.since(wall) + TIME_DOUBT))
    }

    /// Given up: only what was sent still counts, as evidence.
    fn abandon(mut self) -> (JoinSet<()>, JoinSet<()>) {
        tracing::warn!(executor = %self.context.executor, owned = self.owned.len(), "given up by the others, beginning anew");
        self.calls.abort_all();
        let mut last = JoinSet::new();
        let mut sends = std::mem::take(&mut self.sends);
        let (fallen, executor) = (self.context.fallen.clone(), self.context.executor);
        last.spawn(async move {
            let mut all_ended = true;
            while let Some(ended) = sends.join_next().await {
                all_ended &= ended.is_ok();
            }
            if all_ended {
                fallen.note(executor);
            }
        });
        (last, std::mem::take(&mut self.batches))
    }
}

/// Resolves once the engine is told to stop; also if whoever could tell is gone.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
