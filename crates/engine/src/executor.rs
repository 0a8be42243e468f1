//! Owns work for one incarnation of this process.
//!
//! Acquires due work in batches and keeps each piece until it ends, is handed back or this incarnation is given up.
//! Timers live in memory: an hour of rendering holds no task, no transaction and writes nothing.
//! Invariants: no SQL, no HTTP; every call has a deadline, and none starts outside the trust window.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longtake_core::id::{AccountId, ExecutorId, Fence};
use longtake_core::step::{Step, next_step};
use longtake_core::store::{Beat, Claim, StoreError, WorkKey, WorkKind};
use longtake_core::time::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};

use crate::admission::Admission;
use crate::batch::Batcher;
use crate::config::{EngineConfig, Parts};
use crate::context::{Context, Fallen, Trust};
use crate::metrics::{EngineMetrics, add, set};
use crate::owned::Owned;
use crate::steps::perform;
use crate::task::{Done, Next, Task};

/// How often work that this executor owns but does not remember is looked for.
const ADOPT_EVERY: Duration = Duration::from_secs(300);
/// How often a full account is tried again although nothing was freed here.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// Longest timer: wall clocks may jump, so far deadlines are looked at again.
const LONGEST_TIMER: Duration = Duration::from_secs(3600);
/// Rows handed back in one call.
const RELEASE_BATCH: usize = 500;
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

/// What came back from a background look at the store.
struct Look {
    claims: Result<Vec<Claim>, StoreError>,
    /// There was as much as could be taken: look again at once.
    more: bool,
}

enum Message {
    Stop,
    Done(Done),
    Look(Look),
    Beat { asked_at: Duration, answer: Result<Beat, StoreError> },
}

pub(crate) struct Executor {
    context: Arc<Context>,
    owned: Owned,
    admission: Admission,
    pace: BTreeMap<AccountId, Duration>,
    calls: JoinSet<Message>,
    sends: JoinSet<Message>,
    /// Which work a task drives, for the one that panics.
    drives: HashMap<Id, (WorkKey, Fence)>,
    batches: JoinSet<()>,
    /// Idle work to be given back by the next look: looks are the only ones that take news, so none falls between.
    returns: BTreeMap<WorkKey, Timestamp>,
    wake: Arc<Notify>,
    looking: bool,
    beating: bool,
    look_at: Duration,
    beat_at: Duration,
    adopt_at: Duration,
    probe_at: Duration,
}

impl Executor {
    pub fn new(
        parts: Parts,
        executor: ExecutorId,
        metrics: Arc<EngineMetrics>,
        wake: Arc<Notify>,
        registered_at: Duration,
        fallen: Fallen,
    ) -> Self {
        let mut batches = JoinSet::new();
        let (opens, evidence, steps) = (parts.store.clone(), parts.store.clone(), parts.store.clone());
        let opens = Batcher::start(
            &mut batches,
            1,
            Box::new(move |intents| {
                let store = opens.clone();
                Box::pin(async move { store.open_attempts(executor, intents).await })
            }),
        );
        let evidence = Batcher::start(
            &mut batches,
            1,
            Box::new(move |records| {
                let store = evidence.clone();
                Box::pin(async move {
                    let answers = vec![(); records.len()];
                    store.record_evidence(records).await.map(|()| answers)
                })
            }),
        );
        let steps = Batcher::start(
            &mut batches,
            1,
            Box::new(move |commits| {
                let store = steps.clone();
                Box::pin(async move { store.step(executor, commits).await })
            }),
        );
        let trust = Trust::default();
        let config = &parts.config;
        let now = registered_at;
        trust.extend(now + config.ttl.saturating_sub(config.margin));
        let (max_sends, beat) = (config.max_inflight_sends, config.beat);
        let context = Arc::new(Context { parts, executor, trust, fallen, metrics, opens, evidence, steps });
        Self {
            context,
            owned: Owned::default(),
            admission: Admission::new(max_sends),
            pace: BTreeMap::new(),
            calls: JoinSet::new(),
            sends: JoinSet::new(),
            drives: HashMap::new(),
            batches,
            returns: BTreeMap::new(),
            wake,
            looking: false,
            beating: false,
            look_at: now,
            beat_at: now + beat,
            adopt_at: now + ADOPT_EVERY,
            probe_at: now + PROBE_EVERY,
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
                    self.admission.sent();
                    self.unwrap(ended)
                }
                Some(ended) = self.calls.join_next_with_id() => self.unwrap(ended),
                () = wake.notified() => {
                    self.look_at = self.now();
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
                Some(Message::Beat { asked_at, answer }) => {
                    self.beating = false;
                    match answer {
                        Ok(Beat::Alive) => {
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
                        self.adopt_at = self.now() + PROBE_EVERY;
                    }
                    None => (self.looking, self.beating) = (false, false),
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
        }
        if !self.beating {
            next = next.min(self.beat_at);
        }
        if self.admission.waiting() > 0 {
            next = next.min(self.probe_at);
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
        }
        if self.probe_at <= now {
            self.admission.probe();
            self.probe_at = now + PROBE_EVERY;
        }
        if !self.context.trust.holds(now) {
            return;
        }
        while self.calls.len() < self.config().concurrency {
            let Some(task) = self.owned.take_due(now) else { break };
            self.begin(task, now);
        }
        while let Some(work) = self.admission.take_next() {
            match self.owned.take(work) {
                Some(task) => self.spawn_send(task),
                None => self.admission.sent(), // finished or busy with something else meanwhile
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

    fn spawn_send(&mut self, task: Box<Task>) {
        let (context, drives) = (self.context.clone(), (task.work, task.fence));
        let handle = self.sends.spawn(async move { Message::Done(perform(context, *task).await) });
        self.drives.insert(handle.id(), drives);
    }

    fn begin_beat(&mut self, now: Duration) {
        self.beating = true;
        self.beat_at = now + self.config().beat;
        let context = self.context.clone();
        self.calls.spawn(async move {
            let asked_at = context.parts.clock.monotonic();
            let answer = context.parts.store.beat(context.executor).await;
            let limit = context.parts.config.acquire_batch;
            if let Err(error) = context.parts.store.reap(limit).await {
                tracing::warn!(%error, "dead executors could not be looked for");
            }
            Message::Beat { asked_at, answer }
        });
    }

    fn begin_look(&mut self, now: Duration) {
        self.looking = true;
        self.look_at = now + self.config().look_interval;
        let room = self.config().max_owned.saturating_sub(self.owned.len()).min(self.config().acquire_batch);
        let adopt = self.adopt_at <= now;
        let known = if adopt { self.owned.fences() } else { Vec::new() };
        if adopt {
            self.adopt_at = now + ADOPT_EVERY;
        }
        let returns = self.take_returns();
        let context = self.context.clone();
        self.calls.spawn(async move { Message::Look(look(&context, room, adopt.then_some(known), returns).await) });
    }

    fn take_returns(&mut self) -> Vec<(WorkKey, Fence, Timestamp)> {
        let mut rows = Vec::with_capacity(self.returns.len());
        for (work, due) in std::mem::take(&mut self.returns) {
            if let Some(task) = self.owned.take(work) {
                self.owned.end_busy(work, task.fence);
                rows.push((work, task.fence, due));
            }
        }
        rows
    }

    fn take_look(&mut self, look: Look) {
        self.looking = false;
        let now = self.now();
        match look.claims {
            Ok(claims) => {
                if look.more {
                    self.look_at = now;
                }
                for claim in claims {
                    self.take_claim(claim, now);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "work could not be looked for");
                self.adopt_at = now + self.config().look_interval;
            }
        }
    }

    fn take_claim(&mut self, claim: Claim, now: Duration) {
        let (work, fence) = (claim.work, claim.fence);
        if self.owned.wake_busy(work, fence) {
            return;
        }
        let mut task = match self.owned.knows(work, fence).then(|| self.owned.take(work)).flatten() {
            Some(task) => task,
            None => Box::new(Task::new(claim.clone())),
        };
        task.refresh(claim.record, claim.late);
        self.owned.end_busy(work, fence);
        self.returns.remove(&work);
        self.owned.put(task, now);
    }

    /// Takes the rest of a step back and sets its timer.
    fn take_back(&mut self, done: Done) {
        let woken = self.owned.end_busy(done.work, done.fence);
        if let Some(account) = done.freed {
            self.admission.freed(account);
        }
        let (Some((mut task, next)), Some(woken)) = (done.rest, woken) else { return };
        let now = self.now();
        task.memory.stale |= woken;
        let at = match next {
            _ if woken => now,
            Next::Now => now,
            Next::After(wait) => self.wake_up_at(&task, now, wait),
            Next::Admission(account) => {
                self.admission.full(account);
                self.admission.wait(account, task.record.priority, task.work);
                self.wake_up_at(&task, now, LONGEST_TIMER)
            }
            Next::HandBack(due) => {
                self.returns.insert(task.work, due);
                self.look_at = now;
                now + LONGEST_TIMER
            }
        };
        self.owned.put(task, at);
    }

    /// After a wait, or at the client's deadline if that comes first.
    fn wake_up_at(&self, task: &Task, now: Duration, wait: Duration) -> Duration {
        let wait = wait.min(LONGEST_TIMER);
        let wall = self.context.now();
        let deadline = task.record.deadline_at.filter(|at| task.work.kind == WorkKind::Drive && *at > wall);
        now + deadline.map_or(wait, |at| wait.min(at.since(wall)))
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

    /// Hands over at once: polls are broken off, sends are waited for within a bound, everything is given back.
    async fn drain(&mut self) {
        self.calls.abort_all();
        let context = self.context.clone();
        let sends = &mut self.sends;
        let mut ended = Vec::new();
        let all = async {
            while let Some(done) = sends.join_next().await {
                ended.push(done);
            }
        };
        if context.within(context.parts.config.drain_timeout, all).await.is_none() {
            tracing::warn!("some submissions had no answer yet, their outcome is found out at the next start");
        }
        for done in ended.into_iter().flatten() {
            if let Message::Done(done) = done
                && done.rest.is_none()
            {
                self.owned.end_busy(done.work, done.fence);
            }
        }
        let now = context.now();
        let rows: Vec<_> = self.owned.fences().into_iter().map(|(work, fence)| (work, fence, now)).collect();
        for batch in rows.chunks(RELEASE_BATCH) {
            if let Err(error) = context.parts.store.release(context.executor, batch.to_vec()).await {
                tracing::warn!(%error, "some work is not handed back, the next start takes it");
                return;
            }
        }
        tracing::info!(released = rows.len(), "work handed back");
    }
}

/// Resolves once the engine is told to stop; also if whoever could tell is gone.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Own work that was woken, due work nobody owns, and, if asked, own work nobody here remembers.
async fn look(
    context: &Context,
    room: usize,
    known: Option<Vec<(WorkKey, Fence)>>,
    returns: Vec<(WorkKey, Fence, Timestamp)>,
) -> Look {
    let store = &context.parts.store;
    let batch = context.parts.config.acquire_batch;
    let found = async {
        for rows in returns.chunks(RELEASE_BATCH) {
            store.release(context.executor, rows.to_vec()).await?;
        }
        let mut claims = store.woken(context.executor, batch).await?;
        let mut more = claims.len() >= batch;
        // What is due is the database's to say: our own clock only saves needless looks, and may be wrong.
        let doubt = known.is_some();
        if let Some(known) = known {
            let owned = store.owned(context.executor).await?;
            let strange: Vec<_> = owned
                .into_iter()
                .filter(|row| known.binary_search(row).is_err())
                .map(|(work, _)| work)
                .take(batch)
                .collect();
            if !strange.is_empty() {
                claims.extend(store.claims(context.executor, strange).await?);
            }
        }
        if room > 0 && store.next_due().await?.is_some_and(|due| doubt || due <= context.now()) {
            let acquired = store.acquire(context.executor, room).await?;
            more |= acquired.len() >= room;
            claims.extend(acquired);
        }
        Ok((claims, more))
    };
    match found.await {
        Ok((claims, more)) => Look { claims: Ok(claims), more },
        Err(error) => Look { claims: Err(error), more: false },
    }
}
