//! Ends a job for its client: a cancel or a passed deadline (T17, T18).

use longtake_core::apply::Input;
use longtake_core::id::ProviderJobId;
use longtake_core::provider::{Call, CancelAnswer, CancelSupport, Exchange, ProviderState};
use longtake_core::record::CancelOutcome;
use longtake_core::state::JobState;
use longtake_core::step::Stop;

use crate::context::Context;
use crate::steps::{CALL_LIMIT, ask, budget, decide, later, retry_of};
use crate::task::{Done, Task};

/// Times a provider is asked to cancel before it counts as refused. What goes on there is watched.
const MAX_CANCEL_TRIES: u16 = 5;

/// Stops what can be stopped and ends the job.
pub(crate) async fn perform(context: &Context, task: Task, why: Stop) -> Done {
    match (&task.record.state, why) {
        (JobState::Running { provider_job, .. }, _) => {
            let provider_job = provider_job.clone();
            running(context, task, &provider_job, why).await
        }
        (_, Stop::Deadline) => decide(context, task, Input::DeadlinePassed { stopped: false }, Vec::new()).await,
        // Which outcome it is follows from the state.
        (_, Stop::Cancel) => {
            decide(context, task, Input::Canceled(CancelOutcome::StoppedBeforeStart), Vec::new()).await
        }
    }
}

async fn running(context: &Context, mut task: Task, provider_job: &ProviderJobId, why: Stop) -> Done {
    let Some(attempt) = task.attempt().cloned() else { return Done::gone(&task) };
    let Some((provider, profile)) = context.provider(&attempt) else {
        return end(context, task, why, false, Vec::new()).await;
    };
    if profile.cancel == CancelSupport::None {
        return unstoppable(context, task, provider_job, why).await;
    }
    let call = Call::new(attempt.account);
    let answer = context.within(CALL_LIMIT, provider.cancel(&call, provider_job)).await;
    let exchanges = call.into_exchanges();
    match answer {
        Some(Ok(CancelAnswer::Stopped)) => end(context, task, why, true, exchanges).await,
        Some(Ok(CancelAnswer::NotStoppable)) => end(context, task, why, false, exchanges).await,
        Some(Ok(CancelAnswer::AlreadyFinished)) => unstoppable(context, task, provider_job, why).await,
        Some(Err(_)) | None => {
            task.memory.tries = task.memory.tries.saturating_add(1);
            if task.memory.tries >= MAX_CANCEL_TRIES {
                return end(context, task, why, false, exchanges).await;
            }
            let retry_after = answer.and_then(|answer| answer.err().and_then(|error| error.retry_after()));
            later(task, &profile, retry_after)
        }
    }
}

/// It cannot be stopped, or is finished: a result that is there already is taken, since it is paid.
async fn unstoppable(context: &Context, mut task: Task, provider_job: &ProviderJobId, why: Stop) -> Done {
    let (status, _, exchanges) = ask(context, &task, provider_job).await;
    match (status.map(|status| status.state), why) {
        (Some(ProviderState::Done(outputs)), Stop::Cancel) => {
            task.memory.outputs = outputs;
            decide(context, task, Input::ProviderDone, exchanges).await
        }
        (Some(ProviderState::Failed(failure)), Stop::Cancel) => {
            let retry = context
                .provider_profile(&task)
                .map_or(longtake_core::attempt::Retry::Never, |profile| retry_of(&profile, failure.code));
            let input = Input::ProviderFailed(failure, retry, budget(context, &task));
            decide(context, task, input, exchanges).await
        }
        _ => end(context, task, why, false, exchanges).await,
    }
}

async fn end(context: &Context, task: Task, why: Stop, stopped: bool, exchanges: Vec<Exchange>) -> Done {
    let input = match why {
        Stop::Deadline => Input::DeadlinePassed { stopped },
        Stop::Cancel if stopped => Input::Canceled(CancelOutcome::StoppedUpstream),
        Stop::Cancel => Input::Canceled(CancelOutcome::NotStoppable),
    };
    decide(context, task, input, exchanges).await
}
