//! An unknown outcome: look it up, send again under the same key, or prove that nothing arrived (rules R4, R7, R8).

use std::time::Duration;

use longtake_core::ablation::{Rule, is_off};
use longtake_core::apply::Input;
use longtake_core::attempt::{Attempt, Evidence};
use longtake_core::id::{ClientRef, ProviderJobId};
use longtake_core::provider::{
    Call, Exchange, FindRequest, Found, Idempotency, Lookup, Provider, ProviderProfile, SubmitRequest, evidence_of,
};
use longtake_core::route::Route;
use longtake_core::time::Timestamp;

use crate::context::Context;
use crate::metrics::count;
use crate::steps::{CALL_LIMIT, Committed, budget, cannot_drive, commit, decide, later};
use crate::submit::{send, testify};
use crate::task::{Done, Next, Task};

/// Clocks of two machines may differ by this much when a listing is compared with an intent.
const CLOCK_MARGIN: Duration = Duration::from_secs(60);

/// What could be found out.
pub(crate) enum Finding {
    /// Evidence was recorded; take it up.
    Testified,
    /// Rule R7 holds: the provider does not have it.
    Absent(Vec<Exchange>),
    /// Nothing yet; how long until it may be worth asking again.
    Nothing(Option<Duration>),
}

/// Finds out, or waits, or gives it over to be held.
pub(crate) async fn perform(context: &Context, task: Task) -> Done {
    let Some(attempt) = task.attempt().cloned() else { return later_without_profile(task) };
    let Some((provider, profile)) = context.provider(&attempt) else {
        return cannot_drive(task, "the account of its attempt is not configured");
    };
    let finding = find_out(context, &task, &attempt, &*provider, &profile).await;
    match finding {
        Finding::Testified => {
            let input = Input::Fold(budget(context, &task));
            decide(context, task, input, Vec::new()).await
        }
        Finding::Absent(exchanges) => {
            let input = Input::Absent(budget(context, &task));
            decide(context, task, input, exchanges).await
        }
        Finding::Nothing(retry_after) => {
            let over = attempt.intent_at + profile.verify_deadline;
            let now = context.now();
            if now >= over {
                return decide(context, task, Input::VerifyExpired, Vec::new()).await;
            }
            let mut done = later(task, &profile, retry_after);
            if let Some((_, Next::After(wait))) = &mut done.rest {
                *wait = (*wait).min(over.since(now));
            }
            done
        }
    }
}

fn later_without_profile(task: Task) -> Done {
    Done::keep(task, Next::After(CALL_LIMIT))
}

/// A held job is handed back: nobody needs to remember it. Where its provider has a lookup it is looked up once more each time it comes due.
pub(crate) async fn hold(context: &Context, task: Task) -> Done {
    let Some(attempt) = task.attempt().cloned() else { return later_without_profile(task) };
    let mut due = task.record.deadline_at.unwrap_or(Timestamp::NEVER);
    if let Some((provider, profile)) = context.provider(&attempt)
        && (profile.lookup != Lookup::None || profile.idempotency != Idempotency::None)
    {
        match find_out(context, &task, &attempt, &*provider, &profile).await {
            Finding::Testified => {
                let input = Input::Fold(budget(context, &task));
                return decide(context, task, input, Vec::new()).await;
            }
            Finding::Absent(exchanges) => {
                let input = Input::Absent(budget(context, &task));
                return decide(context, task, input, exchanges).await;
            }
            Finding::Nothing(_) => due = due.min(context.now() + context.parts.config.held_lookup_interval),
        }
    }
    Done::keep(task, Next::HandBack(due))
}

/// Uses what the provider's profile offers.
pub(crate) async fn find_out(
    context: &Context,
    task: &Task,
    attempt: &Attempt,
    provider: &dyn Provider,
    profile: &ProviderProfile,
) -> Finding {
    let absence = match absence(context, task, attempt, profile).await {
        Ok(absence) => absence,
        Err(retry) => return Finding::Nothing(Some(retry)),
    };
    if let Idempotency::Key { ttl } = profile.idempotency
        && context.now() < attempt.intent_at + ttl
        && task.late.is_none()
    {
        return send_again(context, task, attempt, absence).await;
    }
    if profile.lookup == Lookup::None {
        let blind = is_off(Rule::R7);
        return if blind { Finding::Absent(Vec::new()) } else { Finding::Nothing(None) };
    }
    look_up(context, task, attempt, provider, profile, absence).await
}

/// Whether "not found" may prove anything yet (rule R7 a and c).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Absence {
    settled: bool,
    last_send: Timestamp,
}

async fn absence(
    context: &Context,
    task: &Task,
    attempt: &Attempt,
    profile: &ProviderProfile,
) -> Result<Absence, Duration> {
    let ours = attempt.executor == context.executor;
    let (sender_is_dead, last_send) = if ours {
        (true, task.memory.sent_at.unwrap_or(attempt.send_deadline_at))
    } else {
        let dead = context.parts.store.sender_is_dead(attempt.executor).await.map_err(|_| CALL_LIMIT)?;
        // The dead sent nothing after we began; the living may until their time is over.
        (dead, attempt.send_deadline_at.min(if dead { context.started_at } else { attempt.send_deadline_at }))
    };
    let lag = match profile.lookup {
        Lookup::List { lag } => lag,
        Lookup::None | Lookup::ByRef => Duration::ZERO,
    };
    let settled = sender_is_dead && context.now() >= last_send + profile.absence_settle.max(lag);
    Ok(Absence { settled: settled || is_off(Rule::R7), last_send })
}

/// Rule R8: the same purchase under the same key. A refusal closes the attempt only where no other send of it can be under way.
async fn send_again(context: &Context, task: &Task, attempt: &Attempt, absence: Absence) -> Finding {
    let Some(entry) = context.entry(attempt).cloned() else { return Finding::Nothing(None) };
    let request = match context.parts.store.request(task.work.job).await {
        Ok(Some(request)) => request,
        _ => return Finding::Nothing(None),
    };
    let input = match &request.input {
        None => None,
        Some(image) => match context.parts.artifacts.read(&image.key, 0..image.bytes).await {
            Ok(bytes) => Some(longtake_core::provider::InputBytes { media_type: image.media_type.clone(), bytes }),
            Err(_) => return Finding::Nothing(None),
        },
    };
    let client_ref = if is_off(Rule::R8) {
        ClientRef::from_hash(&u128::from(context.parts.random.u64()).to_be_bytes())
    } else {
        attempt.client_ref.clone()
    };
    if !context.trust.holds(context.parts.clock.monotonic()) {
        return Finding::Nothing(None);
    }
    let route = Route { account: attempt.account, model: attempt.model.clone() };
    let request = SubmitRequest {
        job: task.work.job,
        attempt: attempt.n,
        model: route.model.clone(),
        request,
        input,
        client_ref,
    };
    let (answer, exchanges) = send(context, &entry, &route, &request).await;
    let retry_after = answer.as_ref().err().and_then(longtake_core::provider::ProviderError::retry_after);
    match evidence_of(&answer) {
        Evidence::Unknown => Finding::Nothing(retry_after),
        // "Busy" and "not sent" say nothing about the first send of this key.
        Evidence::NotAccepted(rejection) if rejection.retry == longtake_core::attempt::Retry::Free => {
            Finding::Nothing(retry_after)
        }
        Evidence::NotAccepted(_) if !absence.settled && !is_off(Rule::R8) => Finding::Nothing(retry_after),
        evidence => {
            testify(context, task.work.job, attempt, evidence, exchanges, false).await;
            Finding::Testified
        }
    }
}

async fn look_up(
    context: &Context,
    task: &Task,
    attempt: &Attempt,
    provider: &dyn Provider,
    profile: &ProviderProfile,
    absence: Absence,
) -> Finding {
    let Ok(Some(request)) = context.parts.store.request(task.work.job).await else { return Finding::Nothing(None) };
    let find = FindRequest {
        client_ref: attempt.client_ref.clone(),
        model: attempt.model.clone(),
        request,
        since: attempt.intent_at - CLOCK_MARGIN,
    };
    let call = Call::new(attempt.account);
    count(&context.metrics.lookups);
    let found = match context.within(CALL_LIMIT, provider.find(&call, &find)).await {
        Some(Ok(found)) => found,
        Some(Err(error)) => return Finding::Nothing(error.retry_after()),
        None => return Finding::Nothing(None),
    };
    let exchanges = call.into_exchanges();
    match unclaimed(context, attempt, profile, &found).await {
        None => Finding::Nothing(None),
        Some(Unclaimed::One(provider_job)) => {
            // A listing that lags may still hide the true one behind its double.
            if let Lookup::List { lag } = profile.lookup
                && context.now() < absence.last_send + lag
            {
                return Finding::Nothing(Some((absence.last_send + lag).since(context.now())));
            }
            count(&context.metrics.adopted);
            testify(context, task.work.job, attempt, Evidence::Accepted(provider_job), exchanges, false).await;
            Finding::Testified
        }
        Some(Unclaimed::None) if found.complete && absence.settled => Finding::Absent(exchanges),
        Some(Unclaimed::None | Unclaimed::Many) => Finding::Nothing(None),
    }
}

enum Unclaimed {
    None,
    One(ProviderJobId),
    Many,
}

/// Leaves out what other attempts already have. Our exact reference needs no such care.
async fn unclaimed(
    context: &Context,
    attempt: &Attempt,
    profile: &ProviderProfile,
    found: &Found,
) -> Option<Unclaimed> {
    let mut candidates = found.candidates.clone();
    if matches!(profile.lookup, Lookup::List { .. }) && !candidates.is_empty() {
        let claimed = context.parts.store.claimed(attempt.account, candidates.clone()).await.ok()?;
        let mut claimed = claimed.into_iter();
        candidates.retain(|_| claimed.next() == Some(false));
    }
    let mut rest = candidates.into_iter();
    Some(match (rest.next(), rest.next()) {
        (None, _) => Unclaimed::None,
        (Some(one), None) => Unclaimed::One(one),
        (Some(_), Some(_)) => Unclaimed::Many,
    })
}

/// Commits what was found out about a late attempt; shared with the watch rows.
pub(crate) async fn settle_late(context: &Context, task: Task, input: longtake_core::apply::LateInput) -> Done {
    let mut task = task;
    let input = longtake_core::store::StepInput::Late(input);
    match commit(context, &mut task, input, Vec::new(), None).await {
        Committed::Changed => crate::steps::changed(task),
        Committed::Applied | Committed::Gone => Done::gone(&task),
    }
}
