//! Rows T1-T22 in every order (T23: `cost`): the real `apply`, `merge`, `apply_late`, `next_step` and `watch_step` over the real store.
//!
//! The owner acts on what it remembers, not on what is stored: every action of a client, a provider or another process
//! may come between its look and its decision.

use std::time::Duration;

use longtake_core::apply::{Input, LateInput};
use longtake_core::attempt::{AttemptState, Evidence, Retry, Verdict};
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, AttemptNo, ExecutorId, Fence, PoolId};
use longtake_core::limits::AttemptLimits;
use longtake_core::pacing::Budget;
use longtake_core::record::CancelOutcome;
use longtake_core::state::{JobState, StateName};
use longtake_core::step::{Step, Stop, WatchStep, next_step, watch_step};
use longtake_core::store::{
    OpenAttempt, OpenResult, Place, Release, Resolution, StepCommit, StepInput, StepResult, Store, Wanted, WorkKey,
    WorkKind,
};
use longtake_core::time::{Clock, Timestamp};

use super::cost::{Cost, submit_within};
use super::search::{Model, Next, explore};
use super::world::{
    ACCOUNT, Bought, DEADLINE, Left, Memory, PROJECT, Truth, World, failure, intent, job, name, now, output, refusal,
};

const BUDGET: Budget = Budget { max_attempts: 2, routes: 1, unavailable_limit: Duration::from_secs(3_600) };

pub struct Machine {
    pub left: Left,
    pub cost: Option<Cost>,
}

/// Ways on from one world.
pub struct Ways<'a> {
    pub from: &'a World,
    found: Vec<Next<World>>,
}

impl Ways<'_> {
    pub fn add(&mut self, fair: bool, label: impl Into<String>, change: impl FnOnce(&mut World)) {
        let mut state = self.from.fork();
        change(&mut state);
        self.found.push(Next { label: label.into(), fair, state });
    }
}

/// The owner commits a decision about the job and remembers the answer.
pub fn commit(world: &mut World, input: Input) {
    let Some(memory) = world.memory.take() else { return };
    let (work, fence) = (WorkKey::drive(job()), memory.fence);
    let step = StepCommit { work, fence, input: StepInput::Job(input), exchanges: Vec::new(), release: None };
    world.memory = match now(world.store.step(world.executor, vec![step])).unwrap().pop() {
        Some(StepResult::Applied(record)) if record.state.is_terminal() => None,
        Some(StepResult::Applied(record) | StepResult::Conflict(record, _)) => {
            Some(Memory { record, fold: false, weighed: None, ..memory })
        }
        Some(StepResult::Stale) | None => None,
    };
}

/// Room for all there is.
fn everything() -> Wanted {
    Wanted { due: 100, queued: 100, accounts: Vec::new() }
}

fn give_back(world: &World, work: WorkKey, fence: Fence, due_at: Timestamp) {
    let row = Release { work, fence, due_at, place: Place::default() };
    now(world.store.release(world.executor, vec![row])).unwrap();
}

/// The owner of a watch row settles its attempt; it looks first.
fn settle(world: &mut World, n: AttemptNo, input: LateInput) {
    let claims = now(world.store.acquire(world.executor, &everything())).unwrap();
    for claim in claims {
        if claim.work == WorkKey::watch(job(), n) {
            let input = StepInput::Late(input.clone());
            let step = StepCommit { work: claim.work, fence: claim.fence, input, exchanges: Vec::new(), release: None };
            let answer = now(world.store.step(world.executor, vec![step])).unwrap().pop();
            if !matches!(answer, Some(StepResult::Applied(_))) {
                world.broken = Some(format!("a late attempt refuses {input:?}", input = claim.late));
            }
        } else {
            let due = world.clock.now();
            give_back(world, claim.work, claim.fence, due);
        }
    }
}

fn acquire_drive(world: &mut World) {
    for claim in now(world.store.acquire(world.executor, &everything())).unwrap() {
        if claim.work.kind == WorkKind::Drive {
            world.memory = Some(Memory::of(claim));
        } else {
            let due = world.clock.now();
            give_back(world, claim.work, claim.fence, due);
        }
    }
}

/// The intent of an attempt at this account.
pub fn submit_to(world: &mut World, account: AccountId) {
    let Some(memory) = world.memory.take() else { return };
    let memory = Memory { weighed: None, ..memory };
    let attempt = intent(memory.record.next_attempt(), world.executor, account, world.clock.now());
    let n = attempt.n.0;
    let open =
        OpenAttempt { work: WorkKey::drive(job()), fence: memory.fence, attempt, limits: AttemptLimits::default() };
    let answer = now(world.store.open_attempts(world.executor, vec![open])).unwrap().pop();
    world.memory = match answer {
        Some(OpenResult::Opened(record)) => Some(Memory { record, sending: Some(n), ..memory }),
        Some(OpenResult::Conflict(record)) => Some(Memory { record, ..memory }),
        _ => None,
    };
}

/// What a send may come to; the sender testifies at once.
fn sends(ways: &mut Ways<'_>, who: &str, n: u16, after: fn(&mut World)) {
    let ours = || Evidence::Accepted(name(&format!("p{n}")));
    let refused = |retry: Retry| Evidence::NotAccepted(refusal(retry));
    let mut outcomes = vec![
        ("accepted", true, ours()),
        ("accepted, unheard", true, Evidence::Unknown),
        ("lost", false, Evidence::Unknown),
        ("refused", false, refused(Retry::Counted)),
    ];
    if ways.from.left.refusals {
        outcomes.push(("invalid", false, refused(Retry::Never)));
        outcomes.push(("not sent", false, refused(Retry::Free)));
    }
    for (label, buys, evidence) in outcomes {
        ways.add(true, format!("{who} sends {n}: {label}"), |world| {
            if buys {
                world.buy(n);
            }
            world.testify(n, evidence, false);
            after(world);
        });
    }
    if ways.from.left.lies > 0 {
        ways.add(false, format!("{who} sends {n}: refused, but taken"), |world| {
            world.left.lies -= 1;
            world.lied.insert(n);
            world.ever_lied.insert(n);
            world.buy(n);
            world.testify(n, refused(Retry::Counted), false);
            after(world);
        });
    }
}

fn owner(ways: &mut Ways<'_>) {
    let from = ways.from;
    let Some(memory) = &from.memory else {
        if from.drive().is_some_and(|(owned, due)| !owned && due) {
            ways.add(true, "acquire", acquire_drive);
        }
        return;
    };
    if let Some(n) = memory.sending {
        sends(ways, "the owner", n, |world| {
            if let Some(memory) = &mut world.memory {
                (memory.sending, memory.fold) = (None, true);
            }
        });
        return;
    }
    if from.drive().is_some_and(|(owned, due)| owned && due) {
        ways.add(true, "woken", |world| {
            let claims = now(world.store.woken(world.executor, 100)).unwrap();
            let claim = claims.into_iter().find(|claim| claim.work.kind == WorkKind::Drive);
            if let (Some(claim), Some(memory)) = (claim, &mut world.memory) {
                (memory.record, memory.weighed) = (claim.record, None);
            }
        });
    }
    if memory.fold {
        ways.add(true, "fold own evidence", |world| commit(world, Input::Fold(BUDGET)));
        return;
    }
    act(ways, memory);
}

fn act(ways: &mut Ways<'_>, memory: &Memory) {
    let from = ways.from;
    let n = memory.record.attempt.as_ref().map_or(0, |attempt| attempt.n.0);
    let named = match &memory.record.state {
        JobState::Running { provider_job, .. } | JobState::Storing { provider_job, .. } => provider_job.as_str(),
        _ => "",
    };
    let truth = from.ledger.get(named).map(|bought| bought.truth);
    match next_step(&memory.record, from.clock.now()) {
        None => ways.add(true, "drop", |world| world.memory = None),
        Some(Step::Submit) if memory.record.next_attempt().0 > from.left.attempts => {}
        Some(Step::Submit) => match from.cost {
            None => ways.add(true, "submit", |world| submit_to(world, ACCOUNT)),
            Some(cost) => submit_within(ways, cost),
        },
        Some(Step::Fold) => ways.add(true, "fold", |world| commit(world, Input::Fold(BUDGET))),
        Some(Step::TakeOver) => ways.add(true, "take over", |world| commit(world, Input::TakenOver)),
        Some(Step::Verify) => {
            ways.add(true, "verify expired", |world| commit(world, Input::VerifyExpired));
            if from.is_absent(n) {
                ways.add(false, "absent", |world| commit(world, Input::Absent(BUDGET)));
            }
            if let (true, Some((found, _))) = (from.left.lookup, from.bought_by(n)) {
                ways.add(false, "found", |world| {
                    world.testify(n, Evidence::Accepted(name(&found)), false);
                    if let Some(memory) = &mut world.memory {
                        memory.fold = true;
                    }
                });
            }
        }
        Some(Step::Poll) => match truth {
            Some(Truth::Done) => ways.add(true, "done", |world| commit(world, Input::ProviderDone)),
            Some(Truth::Failed) => {
                for retry in [Retry::Never, Retry::Counted] {
                    let input = Input::ProviderFailed(failure(), retry, BUDGET);
                    ways.add(true, format!("failed there, {retry:?}"), |world| commit(world, input));
                }
            }
            Some(Truth::Pending) | None => {}
        },
        Some(Step::Store) => {
            ways.add(true, "stored", |world| commit(world, Input::Stored(vec![output(n)])));
            ways.add(false, "gone for good", |world| {
                let gone = Failure::new(FailureCode::ArtifactUnavailable, "gone");
                commit(world, Input::SourceGone(gone));
            });
        }
        Some(Step::Stop(why)) => stop(ways, why, truth, named),
        Some(Step::Wait) => ways.add(true, "hand back", |world| {
            let Some(memory) = world.memory.take() else { return };
            let due = memory.record.deadline_at.unwrap_or(Timestamp::NEVER);
            give_back(world, WorkKey::drive(job()), memory.fence, due);
        }),
    }
}

fn stop(ways: &mut Ways<'_>, why: Stop, truth: Option<Truth>, named: &str) {
    let end = move |stopped: bool| match (why, stopped) {
        (Stop::Deadline, stopped) => Input::DeadlinePassed { stopped },
        (Stop::Cancel, true) => Input::Canceled(CancelOutcome::StoppedUpstream),
        (Stop::Cancel, false) => Input::Canceled(CancelOutcome::NotStoppable),
    };
    ways.add(true, format!("{why:?}"), |world| commit(world, end(false)));
    match truth {
        Some(Truth::Pending) => ways.add(true, format!("{why:?}, stopped there"), |world| {
            world.set_truth(named, Truth::Failed);
            commit(world, end(true));
        }),
        Some(Truth::Done) if why == Stop::Cancel => {
            ways.add(true, "too late to cancel", |world| commit(world, Input::ProviderDone));
        }
        _ => {}
    }
}

fn watcher(ways: &mut Ways<'_>) {
    let from = ways.from;
    for n in from.watched() {
        let Some(attempt) = from.attempts().into_iter().find(|attempt| attempt.n == n) else { continue };
        let limit = move |world: &mut World| {
            world.gave_up.insert(n.0);
            settle(world, n, LateInput::LimitPassed);
        };
        match watch_step(&attempt) {
            WatchStep::Settle => ways.add(true, format!("settle {n}"), |world| settle(world, n, LateInput::Ended)),
            WatchStep::Verify => {
                ways.add(true, format!("watch limit of {n}"), limit);
                if from.is_absent(n.0) {
                    ways.add(false, format!("late {n} is absent"), |world| settle(world, n, LateInput::Absent));
                }
                if let (true, Some((found, _))) = (from.left.lookup, from.bought_by(n.0)) {
                    let evidence = Evidence::Accepted(name(&found));
                    ways.add(false, format!("late {n} is found"), |world| world.testify(n.0, evidence, false));
                }
            }
            WatchStep::Follow => {
                ways.add(false, format!("watch limit of {n}"), limit);
                let known = attempt.provider_job.as_ref().map_or("", |known| known.as_str());
                match from.ledger.get(known).map(|bought| bought.truth) {
                    Some(Truth::Pending) => ways.add(true, format!("late {n} is stopped"), |world| {
                        world.set_truth(known, Truth::Failed);
                        settle(world, n, LateInput::Ended);
                    }),
                    Some(Truth::Done) => {
                        ways.add(true, format!("late {n} is stored"), |world| {
                            settle(world, n, LateInput::Stored(vec![output(n.0)]));
                        });
                        ways.add(false, format!("late {n} is gone for good"), |world| {
                            settle(
                                world,
                                n,
                                LateInput::SourceGone(Failure::new(FailureCode::ArtifactUnavailable, "gone")),
                            );
                        });
                    }
                    _ => ways.add(true, format!("late {n} ended"), |world| settle(world, n, LateInput::Ended)),
                }
            }
        }
    }
}

fn provider(ways: &mut Ways<'_>) {
    let from = ways.from;
    for (text, bought) in &from.ledger {
        if bought.truth == Truth::Pending {
            for truth in [Truth::Done, Truth::Failed] {
                ways.add(true, format!("{text} is {truth:?}"), |world| world.set_truth(text, truth));
            }
        }
        let lied = from.lied.contains(&bought.n);
        if from.left.callbacks || lied {
            let evidence = Evidence::Accepted(name(text));
            ways.add(lied, format!("{text} calls back"), |world| {
                world.testify(bought.n, evidence, true);
                world.lied.remove(&bought.n);
            });
        }
    }
    if let Some(n) = from.zombie {
        sends(ways, "a zombie", n, |world| world.zombie = None);
    }
}

fn clients(ways: &mut Ways<'_>) {
    let left = ways.from.left;
    if left.cancels > 0 {
        ways.add(false, "cancel is asked for", |world| {
            world.left.cancels -= 1;
            now(world.store.request_cancel(PROJECT, job())).unwrap();
        });
    }
    if left.deadlines > 0 {
        ways.add(false, "the deadline passes", |world| {
            world.left.deadlines -= 1;
            world.at += i64::try_from(DEADLINE.as_micros()).unwrap();
        });
    }
    let record = ways.from.record();
    if left.retries > 0 && matches!(record.state.name(), StateName::Failed | StateName::Canceled) {
        ways.add(false, "retry", |world| {
            world.left.retries -= 1;
            world.refused = None;
            now(world.store.retry(PROJECT, job(), "client".into(), PoolId::NONE)).unwrap();
        });
    }
    if left.hides > 0 && record.state.is_terminal() {
        ways.add(false, "hide", |world| {
            world.left.hides -= 1;
            now(world.store.hide(PROJECT, job())).unwrap();
        });
    }
    if left.resolves > 0 && record.state.name() == StateName::Held {
        people(ways, record.state.attempt().map_or(0, |n| n.0));
    }
}

fn people(ways: &mut Ways<'_>, n: u16) {
    let mut resolutions = vec![Resolution::Decide(Verdict::Resubmit), Resolution::Decide(Verdict::Fail)];
    resolutions.extend(ways.from.bought_by(n).map(|(found, _)| Resolution::Adopt(name(&found))));
    let other = format!("other{n}");
    resolutions.push(Resolution::Adopt(name(&other)));
    for resolution in resolutions {
        ways.add(false, format!("a person: {resolution:?}"), |world| {
            world.left.resolves -= 1;
            if resolution == Resolution::Adopt(name(&other)) {
                world.ledger.entry(other.clone()).or_insert(Bought { n, truth: Truth::Pending });
            }
            now(world.store.resolve_held(PROJECT, job(), resolution, "person".into())).unwrap();
        });
    }
}

/// The owner dies, or is only taken for dead and goes on with its send.
fn crashes(ways: &mut Ways<'_>) {
    let from = ways.from;
    let Some(memory) = from.memory.as_ref().filter(|_| from.left.crashes > 0) else { return };
    let lose = |world: &mut World| {
        world.left.crashes -= 1;
        if let Some(memory) = world.memory.take() {
            let due = world.clock.now();
            give_back(world, WorkKey::drive(job()), memory.fence, due);
        }
        world.executor = ExecutorId(2);
    };
    ways.add(false, "the owner dies", lose);
    if let Some(n) = memory.sending {
        ways.add(false, "the owner dies after sending", |world| {
            world.buy(n);
            lose(world);
        });
        ways.add(false, "the owner is taken for dead", |world| {
            world.zombie = Some(n);
            lose(world);
        });
    }
}

impl Model for Machine {
    type State = World;
    type Key = String;

    fn start(&self) -> World {
        World::new(self.left, self.cost)
    }

    fn key(&self, world: &World) -> String {
        world.turn_clock();
        world.face()
    }

    fn next(&self, from: &World) -> Vec<Next<World>> {
        from.turn_clock();
        let mut ways = Ways { from, found: Vec::new() };
        owner(&mut ways);
        watcher(&mut ways);
        provider(&mut ways);
        clients(&mut ways);
        crashes(&mut ways);
        ways.found
    }

    fn check(&self, world: &World) -> Result<(), String> {
        world.turn_clock();
        if let Some(broken) = &world.broken {
            return Err(broken.clone());
        }
        world.store.audit()?;
        if let Some(forgotten) = world.forgotten() {
            return Err(forgotten);
        }
        if let Some(broken) = world.cost.and_then(|cost| cost.broken(world)) {
            return Err(broken);
        }
        let live = !world.record().state.is_terminal();
        for attempt in world.attempts() {
            let closed_wrongly = attempt.state == AttemptState::NotAccepted && world.bought_by(attempt.n.0).is_some();
            if closed_wrongly && !world.lied.contains(&attempt.n.0) && !world.store.is_hidden(job()) {
                return Err(format!("attempt {} was bought and counts as not accepted", attempt.n));
            }
            let awaited = live && attempt.state == AttemptState::Accepted;
            if awaited && world.watched().contains(&attempt.n) && watch_step(&attempt) != WatchStep::Settle {
                return Err(format!("attempt {} is awaited, and watched as if it were not", attempt.n));
            }
        }
        Ok(())
    }

    fn is_rest(&self, world: &World) -> bool {
        world.turn_clock();
        let record = world.record();
        if record.next_attempt().0 > world.left.attempts && record.state.name() == StateName::Queued {
            return true; // beyond the bounds
        }
        let unknown =
            record.attempt.as_ref().is_some_and(|attempt| attempt.state.is_unresolved() && attempt.decision.is_none());
        let waits = record.state.name() == StateName::Held && unknown && !record.cancel_pending();
        let held = waits && !record.deadline_passed(world.clock.now()) && world.memory.is_none();
        let quiet = world.watched().is_empty() && world.zombie.is_none();
        (record.state.is_terminal() || held) && quiet
    }
}

pub const NOTHING: Left = Left {
    attempts: 2,
    cancels: 0,
    deadlines: 0,
    retries: 0,
    resolves: 0,
    hides: 0,
    crashes: 0,
    lies: 0,
    callbacks: true,
    lookup: true,
    refusals: false,
};

fn holds(what: &str, left: Left) {
    let states = explore(&Machine { left, cost: None }).unwrap_or_else(|found| panic!("{what}: {found:#?}"));
    println!("machine, {what}: {states} states");
    assert!(states > 100, "the machine hardly moves: {states}");
}

#[test]
fn cancel_and_deadline_always_end() {
    holds("cancel and deadline", Left { cancels: 1, deadlines: 1, crashes: 1, ..NOTHING });
}

#[test]
fn refusals_of_every_kind_and_refusals_that_were_none() {
    holds("refusals", Left { attempts: 3, refusals: true, lies: 1, lookup: false, ..NOTHING });
    holds("refusals and crashes", Left { refusals: true, lies: 1, crashes: 1, ..NOTHING });
    holds("lies and cancel", Left { lies: 1, cancels: 1, deadlines: 1, ..NOTHING });
}

#[test]
fn held_jobs_take_decisions_and_late_news() {
    holds("held", Left { resolves: 1, crashes: 1, ..NOTHING });
    holds("held and stopped", Left { attempts: 1, resolves: 1, cancels: 1, deadlines: 1, ..NOTHING });
}

#[test]
fn retry_leaves_no_attempt_behind() {
    holds("retry", Left { retries: 1, cancels: 1, lies: 1, ..NOTHING });
    holds("retry after the deadline", Left { retries: 1, deadlines: 1, lookup: false, ..NOTHING });
}

#[test]
fn retry_after_a_decision() {
    holds("retry after a decision", Left { retries: 1, resolves: 1, ..NOTHING });
}

#[test]
fn what_is_hidden_is_left_alone() {
    holds("hide", Left { hides: 1, cancels: 1, deadlines: 1, ..NOTHING });
    holds("hide after retry", Left { hides: 1, cancels: 1, retries: 1, lookup: false, ..NOTHING });
}
