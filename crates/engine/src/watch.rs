//! Late attempts: nobody waits for them any more, and they may still yield what was paid for (T19-T21).
//!
//! Asks the provider once to cancel, then follows it like any job until a result is stored, it ends or the limit passes.
//! It never submits.

use longtake_core::apply::LateInput;
use longtake_core::attempt::Attempt;
use longtake_core::provider::{Call, CancelAnswer, CancelSupport, Lookup, ProviderProfile, ProviderState};
use longtake_core::step::{WatchStep, watch_step};
use longtake_core::store::StepInput;

use crate::context::Context;
use crate::metrics::count;
use crate::steps::{CALL_LIMIT, Committed, ask, cannot_drive, changed, commit, later, until_next_poll};
use crate::storing::{Copied, copy_all};
use crate::task::{Done, Next, Task};
use crate::verify::{Finding, find_out, settle_late};

/// Does the one thing there is to do for a late attempt.
pub(crate) async fn perform(context: &Context, task: Task) -> Done {
    let Some(attempt) = task.late.as_deref().cloned() else { return Done::gone(&task) };
    let Some((_, profile)) = context.provider(&attempt) else {
        return cannot_drive(context, task, "the account of its late attempt is not configured");
    };
    if context.now() >= attempt.intent_at + profile.watch_limit {
        tracing::warn!(job.id = %task.work.job, attempt = attempt.n.0, "the watch limit of a late attempt passed");
        return settle_late(context, task, LateInput::LimitPassed).await;
    }
    match watch_step(&attempt) {
        WatchStep::Settle => settle_late(context, task, LateInput::Ended).await,
        WatchStep::Verify => verify(context, task, &attempt, &profile).await,
        WatchStep::Follow => follow(context, task, &attempt, &profile).await,
    }
}

async fn verify(context: &Context, mut task: Task, attempt: &Attempt, profile: &ProviderProfile) -> Done {
    let Some((provider, _)) = context.provider(attempt) else { return Done::gone(&task) };
    if profile.lookup == Lookup::None {
        // Only evidence can tell, and evidence wakes; the limit of the watch ends it.
        let limit = attempt.intent_at + profile.watch_limit;
        return Done::keep(task, Next::After(limit.since(context.now())));
    }
    match find_out(context, &mut task, attempt, &*provider, profile).await {
        Finding::Absent(_) => settle_late(context, task, LateInput::Absent).await,
        Finding::Testified => reread(context, task).await,
        Finding::Nothing { retry_after, .. } => later(task, profile, retry_after),
    }
}

/// Takes up what is now known of the attempt.
async fn reread(context: &Context, mut task: Task) -> Done {
    match crate::steps::reload(context, &mut task).await {
        Committed::Gone => Done::gone(&task),
        Committed::Applied | Committed::Changed => Done::keep(task, Next::Now),
    }
}

async fn follow(context: &Context, mut task: Task, attempt: &Attempt, profile: &ProviderProfile) -> Done {
    let Some(provider_job) = attempt.provider_job.clone() else { return Done::gone(&task) };
    let Some((provider, _)) = context.provider(attempt) else { return Done::gone(&task) };
    if !task.memory.cancel_asked && profile.cancel != CancelSupport::None {
        task.memory.cancel_asked = true;
        let call = Call::new(attempt.account);
        let answer = context.within(CALL_LIMIT, provider.cancel(&call, &provider_job)).await;
        if let Some(Ok(CancelAnswer::Stopped)) = answer {
            return settle_late(context, task, LateInput::Ended).await;
        }
    }
    let (status, retry_after, _) = ask(context, &task, &provider_job).await;
    let Some(status) = status else { return later(task, profile, retry_after) };
    task.memory.errors = 0;
    match status.state {
        ProviderState::Pending => {
            task.memory.not_found_since = None;
            let wait = until_next_poll(&mut task.memory, profile, status.retry_after);
            Done::keep(task, Next::After(wait))
        }
        ProviderState::Failed(_) => settle_late(context, task, LateInput::Ended).await,
        ProviderState::NotFound => {
            let now = context.now();
            let since = *task.memory.not_found_since.get_or_insert(now);
            if now.since(since) < profile.absence_settle {
                return later(task, profile, status.retry_after);
            }
            settle_late(context, task, LateInput::Ended).await
        }
        ProviderState::Done(outputs) => {
            task.memory.outputs = outputs;
            let (copied, exchanges) = copy_all(context, &mut task, attempt, &provider_job, &*provider, profile).await;
            match copied {
                Copied::All(artifacts) => {
                    let input = StepInput::Late(LateInput::Stored(artifacts));
                    match commit(context, &mut task, input, exchanges, None).await {
                        Committed::Changed => changed(task),
                        Committed::Applied | Committed::Gone => {
                            count(&context.metrics.late_results);
                            Done::gone(&task)
                        }
                    }
                }
                Copied::Later(retry_after) => later(task, profile, retry_after),
                Copied::Never(failure) => settle_late(context, task, LateInput::SourceGone(failure)).await,
            }
        }
    }
}
