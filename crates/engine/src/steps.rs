//! Performs one step for a job and says when to go on.

use std::sync::Arc;
use std::time::Duration;

use longtake_core::apply::Input;
use longtake_core::attempt::{Decision, Retry, Verdict};
use longtake_core::failpoint;
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, ProviderJobId};
use longtake_core::pacing::{poll_delay, retry_delay};
use longtake_core::provider::{Call, ChargedOn, Exchange, ProviderProfile, ProviderState, ProviderStatus};
use longtake_core::state::JobState;
use longtake_core::step::{Step, next_step};
use longtake_core::store::{StepCommit, StepInput, StepResult, WorkKind};
use longtake_core::time::Timestamp;

use crate::config::OnUnknown;
use crate::context::Context;
use crate::metrics::count;
use crate::task::{Done, Memory, Next, Task};
use crate::{stop, storing, submit, verify, watch};

/// Wait before a decision that could not be committed, or was not what its owner thought, is taken again.
const SECOND_THOUGHT: Duration = Duration::from_secs(1);
/// Wait for work this process cannot drive (its model or account is not configured here).
const CANNOT_DRIVE: Duration = Duration::from_secs(30);
/// Polls that follow news of a provider job although the first of them said "not yet", and the shortest wait before one.
pub(crate) const HURRIED_POLLS: u8 = 4;
const HURRY_FIRST: Duration = Duration::from_millis(500);
/// Smallest change of progress that is told at once, in points, and the time after which any change is told.
const PROGRESS_POINTS: u8 = 5;
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Does the one thing there is to do now.
pub(crate) async fn perform(context: Arc<Context>, mut task: Task) -> Done {
    if std::mem::take(&mut task.memory.stale) {
        if let Committed::Gone = reload(&context, &mut task).await {
            return Done::gone(&task);
        }
        // Before the first poll it was most likely told that it is accepted, which is known by now.
        task.memory.hurried = if task.memory.polls > 0 { HURRIED_POLLS } else { 0 };
    }
    let before = slot_of(&task);
    // A submission that is refused frees the slot it was let in for.
    let aimed = context.next_route(&task, &task.record.model).map(|route| route.account);
    if task.work.kind == WorkKind::Watch {
        let mut done = watch::perform(&context, task).await;
        done.freed = before.filter(|_| done.rest.is_none());
        return done;
    }
    let mut done = match next_step(&task.record, context.now()) {
        None => Done::gone(&task),
        Some(Step::Submit) => submit::perform(&context, task).await,
        Some(Step::Fold) => {
            let input = Input::Fold(budget(&context, &task));
            decide(&context, task, input, Vec::new()).await
        }
        Some(Step::TakeOver) => submit::take_over(&context, task).await,
        Some(Step::Verify) => verify::perform(&context, task).await,
        Some(Step::Poll) => poll(&context, task).await,
        Some(Step::Store) => storing::perform(&context, task).await,
        Some(Step::Stop(why)) => stop::perform(&context, task, why).await,
        Some(Step::Wait) => {
            task.memory.errors = 0;
            hold(&context, task).await
        }
    };
    let after = done.rest.as_ref().and_then(|(task, _)| slot_of(task));
    let full = matches!(done.rest, Some((_, Next::Queue(..))));
    done.freed = before.or(aimed).filter(|account| after != Some(*account) && !full);
    done
}

/// The account at which this work takes a slot.
fn slot_of(task: &Task) -> Option<AccountId> {
    let attempt = task.attempt()?;
    (attempt.state.is_open() || task.late.is_some()).then_some(attempt.account)
}

/// The budget of a job, by the routes its model has here.
pub(crate) fn budget(context: &Context, task: &Task) -> longtake_core::pacing::Budget {
    context.parts.config.budget(context.routes(&task.record.model).len())
}

/// What became of a commit.
pub(crate) enum Committed {
    /// It is so; the task carries the new record.
    Applied,
    /// The job is something else than thought; the task carries what it is.
    Changed,
    /// The row is finished or another's.
    Gone,
}

/// Commits one decision of the owner and takes the new record up.
pub(crate) async fn commit(
    context: &Context,
    task: &mut Task,
    input: StepInput,
    exchanges: Vec<Exchange>,
    release: Option<Timestamp>,
) -> Committed {
    let release = release.map(|due_at| (due_at, context.place(task, false)));
    let step = StepCommit { work: task.work, fence: task.fence, input, exchanges, release };
    match context.steps.submit(step).await {
        Ok(StepResult::Applied(record)) => {
            let finished = task.work.kind == WorkKind::Drive && record.state.is_terminal();
            observe(context, &record.state);
            task.refresh(record, None);
            if finished || release.is_some() || task.work.kind == WorkKind::Watch {
                return Committed::Gone;
            }
            Committed::Applied
        }
        Ok(StepResult::Conflict(record, late)) => {
            task.refresh(record, late);
            Committed::Changed
        }
        Ok(StepResult::Stale) => {
            count(&context.metrics.stale_steps);
            Committed::Gone
        }
        Err(error) => {
            tracing::warn!(job.id = %task.work.job, %error, "a decision was not confirmed, reading again");
            reload(context, task).await
        }
    }
}

/// Reads the row again until the store answers: a commit whose outcome is unknown is never assumed.
pub(crate) async fn reload(context: &Context, task: &mut Task) -> Committed {
    loop {
        match context.parts.store.claims(context.executor, vec![task.work]).await {
            Ok(claims) => match claims.into_iter().next() {
                Some(claim) if claim.fence == task.fence => {
                    task.refresh(claim.record, claim.late);
                    return Committed::Changed;
                }
                _ => return Committed::Gone,
            },
            Err(error) => {
                tracing::warn!(job.id = %task.work.job, %error, "cannot read the job again yet");
                context.parts.clock.sleep(SECOND_THOUGHT).await;
            }
        }
    }
}

fn observe(context: &Context, state: &JobState) {
    match state {
        JobState::Completed => count(&context.metrics.jobs_completed),
        JobState::Failed { .. } => count(&context.metrics.jobs_failed),
        JobState::Canceled => count(&context.metrics.jobs_canceled),
        JobState::Held { .. } => count(&context.metrics.jobs_held),
        _ => {}
    }
}

/// Commits a decision about the job and goes on with whatever comes next.
pub(crate) async fn decide(context: &Context, mut task: Task, input: Input, exchanges: Vec<Exchange>) -> Done {
    match commit(context, &mut task, StepInput::Job(input), exchanges, None).await {
        Committed::Applied => {
            let next = after(context, &task);
            Done::keep(task, next)
        }
        Committed::Changed => changed(task),
        Committed::Gone => Done::gone(&task),
    }
}

/// The picture was old: choose again, and not in a tight loop.
pub(crate) fn changed(mut task: Task) -> Done {
    task.memory.errors = task.memory.errors.saturating_add(1);
    let next = if task.memory.errors <= 2 { Next::Now } else { Next::After(SECOND_THOUGHT) };
    Done::keep(task, next)
}

/// When to go on after a state was entered.
fn after(context: &Context, task: &Task) -> Next {
    match &task.record.state {
        JobState::Queued => {
            let made = task.record.next_attempt().0.saturating_sub(task.record.first_attempt.0);
            let wait = task.record.attempt.as_ref().and_then(|attempt| attempt.rejection.as_ref()?.retry_after);
            let routes = u16::try_from(context.routes(&task.record.model).len()).unwrap_or(u16::MAX);
            let jitter = u8::try_from(context.parts.random.below(256)).unwrap_or(0);
            Next::After(retry_delay(made, routes, wait, jitter))
        }
        JobState::Running { .. } => {
            let profile = task.record.attempt.as_ref().and_then(|attempt| context.provider(attempt));
            Next::After(profile.map_or(CANNOT_DRIVE, |(_, profile)| profile.poll_quiet.unwrap_or(profile.poll_first)))
        }
        _ => Next::Now,
    }
}

/// Work whose model or account this process does not know is handed back, for one that does, or for a restart.
pub(crate) fn cannot_drive(context: &Context, task: Task, why: &str) -> Done {
    tracing::warn!(job.id = %task.work.job, why, "this process cannot drive the job, it is handed back");
    let due_at = context.now() + CANNOT_DRIVE;
    Done::keep(task, Next::HandBack(due_at))
}

/// A call that proved nothing: try again later, slower each time, as the provider asks.
pub(crate) fn later(mut task: Task, profile: &ProviderProfile, retry_after: Option<Duration>) -> Done {
    task.memory.errors = task.memory.errors.saturating_add(1);
    let wait = poll_delay(u32::from(task.memory.errors), profile.poll_first, profile.poll_ceiling, retry_after);
    Done::keep(task, Next::After(wait))
}

/// Asks the provider once, with a deadline on the call and none on the job.
pub(crate) async fn ask(
    context: &Context,
    task: &Task,
    provider_job: &ProviderJobId,
) -> (Option<ProviderStatus>, Option<Duration>, Vec<Exchange>) {
    let Some(attempt) = task.attempt() else { return (None, None, Vec::new()) };
    let Some((provider, _)) = context.provider(attempt) else { return (None, None, Vec::new()) };
    let call = Call::new(attempt.account);
    count(&context.metrics.polls);
    let answer = context.within(CALL_LIMIT, provider.poll(&call, provider_job)).await;
    let (status, retry_after) = match answer {
        Some(Ok(status)) => (Some(status), None),
        Some(Err(error)) => {
            count(&context.metrics.poll_errors);
            tracing::debug!(job.id = %task.work.job, %error, "a poll proved nothing");
            (None, error.retry_after())
        }
        None => {
            count(&context.metrics.poll_errors);
            (None, None)
        }
    };
    (status, retry_after, call.into_exchanges())
}

/// Longest time for the answer to a poll, a look-up or a cancel.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(60);

async fn poll(context: &Context, mut task: Task) -> Done {
    let JobState::Running { provider_job, .. } = task.record.state.clone() else { return changed(task) };
    let Some((_, profile)) = task.attempt().and_then(|attempt| context.provider(attempt)) else {
        return cannot_drive(context, task, "its account is not configured");
    };
    let (status, retry_after, exchanges) = ask(context, &task, &provider_job).await;
    let Some(status) = status else { return later(task, &profile, retry_after) };
    task.memory.errors = 0;
    if status.state != ProviderState::NotFound {
        task.memory.not_found_since = None;
    }
    match status.state {
        ProviderState::Pending => {
            pending(context, task, &profile, status.progress, status.retry_after, exchanges).await
        }
        ProviderState::Done(outputs) => {
            failpoint::hit("C11");
            task.memory.outputs = outputs;
            decide(context, task, Input::ProviderDone, exchanges).await
        }
        ProviderState::Failed(failure) => {
            let retry = retry_of(&profile, failure.code);
            let input = Input::ProviderFailed(failure, retry, budget(context, &task));
            decide(context, task, input, exchanges).await
        }
        ProviderState::NotFound => {
            let now = context.now();
            let since = *task.memory.not_found_since.get_or_insert(now);
            if now.since(since) < profile.absence_settle {
                return later(task, &profile, status.retry_after);
            }
            let message = "the provider no longer knows this job, which it had accepted";
            let failure = Failure::new(FailureCode::ProviderLost, message);
            let retry = retry_of(&profile, failure.code);
            let input = Input::ProviderFailed(failure, retry, budget(context, &task));
            decide(context, task, input, exchanges).await
        }
    }
}

async fn pending(
    context: &Context,
    mut task: Task,
    profile: &ProviderProfile,
    progress: Option<u8>,
    retry_after: Option<Duration>,
    exchanges: Vec<Exchange>,
) -> Done {
    let now = context.parts.clock.monotonic();
    let known = task.record.progress;
    let told = progress.filter(|percent| known.is_none_or(|known| *percent > known)).filter(|percent| {
        let points = percent.saturating_sub(known.unwrap_or(0));
        points >= PROGRESS_POINTS || task.memory.progress_at.is_none_or(|at| now.saturating_sub(at) >= PROGRESS_EVERY)
    });
    if let Some(percent) = told {
        task.memory.progress_at = Some(now);
        match commit(context, &mut task, StepInput::Job(Input::Progress(percent)), exchanges, None).await {
            Committed::Applied => {}
            Committed::Changed => return changed(task),
            Committed::Gone => return Done::gone(&task),
        }
    }
    let wait = until_next_poll(&mut task.memory, profile, retry_after);
    Done::keep(task, Next::After(wait))
}

/// The wait after a poll that said "not yet". Where changes are called back it is long, but not right after such a call:
/// what it told of may show in the next answers only.
pub(crate) fn until_next_poll(
    memory: &mut Memory,
    profile: &ProviderProfile,
    retry_after: Option<Duration>,
) -> Duration {
    let polls = memory.polls;
    memory.polls = polls.saturating_add(1);
    match profile.poll_quiet {
        Some(quiet) if memory.hurried == 0 => quiet.max(retry_after.unwrap_or_default()),
        Some(_) => {
            memory.hurried -= 1;
            let tries = u32::from((HURRIED_POLLS - 1).saturating_sub(memory.hurried));
            poll_delay(2 * tries, HURRY_FIRST, profile.poll_first.max(HURRY_FIRST), retry_after)
        }
        None => poll_delay(polls, profile.poll_first, profile.poll_ceiling, retry_after),
    }
}

/// Another attempt by itself only where this one is provably unpaid and the request is not at fault.
pub(crate) const fn retry_of(profile: &ProviderProfile, code: FailureCode) -> Retry {
    match (profile.charged_on, code) {
        (_, FailureCode::ContentPolicy | FailureCode::InvalidRequest) | (ChargedOn::Submit, _) => Retry::Never,
        (ChargedOn::Success, _) => Retry::Counted,
    }
}

/// A held job: a policy decides at once; else it is handed back and looked up again from time to time where that can help.
async fn hold(context: &Context, task: Task) -> Done {
    let verdict = match context.parts.config.on_unknown {
        OnUnknown::Hold => return verify::hold(context, task).await,
        OnUnknown::Fail => Verdict::Fail,
        OnUnknown::Resubmit => Verdict::Resubmit,
    };
    let decision = Decision { verdict, by: "policy".into() };
    decide(context, task, Input::Decide(decision), Vec::new()).await
}
