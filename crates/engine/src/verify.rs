//! An unknown outcome: look it up, send again under the same key, or prove that nothing arrived (rules R4, R7, R8).

use std::time::Duration;

use longtake_core::ablation::{Rule, is_off};
use longtake_core::apply::Input;
use longtake_core::attempt::{Attempt, Evidence};
use longtake_core::id::{ClientRef, ProviderJobId};
use longtake_core::provider::{
    Call, Exchange, FindRequest, Found, Idempotency, Lookup, Provider, ProviderProfile, SubmitRequest, evidence_of,
};
use longtake_core::time::Timestamp;

use crate::context::Context;
use crate::metrics::count;
use crate::steps::{CALL_LIMIT, Committed, budget, cannot_drive, commit, decide, later};
use crate::submit::{callback_url, send, testify, testify_by_resemblance};
use crate::task::{Done, Next, Task};

/// Clocks of two machines may differ by this much when a listing, or the life of a key, is compared with an intent, and
/// the store's may have jumped by it since a request ended.
/// Too little of it would hide a paid job from the listing, and absence would be proved wrongly.
const CLOCK_MARGIN: Duration = Duration::from_secs(2 * 3600);
/// What is adopted by its shape alone must not be older than this before the intent: it would be another's.
const ADOPT_MARGIN: Duration = Duration::from_secs(60);

/// What could be found out.
pub(crate) enum Finding {
    /// Evidence was recorded; take it up.
    Testified,
    /// Rule R7 holds: the provider does not have it.
    Absent(Vec<Exchange>),
    /// Nothing yet.
    Nothing {
        /// The wait the provider asked for.
        retry_after: Option<Duration>,
        /// How long until silence proves something, where it will.
        settles_in: Option<Duration>,
    },
}

/// Finds out, or waits, or gives it over to be held.
pub(crate) async fn perform(context: &Context, task: Task) -> Done {
    let Some(attempt) = task.attempt().cloned() else { return later_without_profile(task) };
    let Some((provider, profile)) = context.provider(&attempt) else {
        return cannot_drive(context, task, "the account of its attempt is not configured");
    };
    let mut task = task;
    let finding = find_out(context, &mut task, &attempt, &*provider, &profile).await;
    match finding {
        Finding::Testified => {
            let input = Input::Fold(budget(context, &task));
            decide(context, task, input, Vec::new()).await
        }
        Finding::Absent(exchanges) => {
            let input = Input::Absent(budget(context, &task));
            decide(context, task, input, exchanges).await
        }
        Finding::Nothing { retry_after, settles_in } => {
            let now = context.now();
            // After a long stop the deadline is over before anybody looked: silence still gets its time to prove something.
            let over = (attempt.intent_at + profile.verify_deadline).max(now + settles_in.unwrap_or_default());
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
pub(crate) async fn hold(context: &Context, mut task: Task) -> Done {
    let Some(attempt) = task.attempt().cloned() else { return later_without_profile(task) };
    let mut due = task.record.deadline_at.unwrap_or(Timestamp::NEVER);
    if let Some((provider, profile)) = context.provider(&attempt)
        && (profile.lookup != Lookup::None || profile.idempotency != Idempotency::None)
    {
        match find_out(context, &mut task, &attempt, &*provider, &profile).await {
            Finding::Testified => {
                let input = Input::Fold(budget(context, &task));
                return decide(context, task, input, Vec::new()).await;
            }
            Finding::Absent(exchanges) => {
                let input = Input::Absent(budget(context, &task));
                return decide(context, task, input, exchanges).await;
            }
            // Who hands it back forgets since when nobody sends any more.
            Finding::Nothing { settles_in: Some(wait), .. } if !wait.is_zero() => {
                return Done::keep(task, Next::After(wait));
            }
            Finding::Nothing { .. } => due = due.min(context.now() + context.parts.config.held_lookup_interval),
        }
    }
    Done::keep(task, Next::HandBack(due))
}

/// Uses what the provider's profile offers.
pub(crate) async fn find_out(
    context: &Context,
    task: &mut Task,
    attempt: &Attempt,
    provider: &dyn Provider,
    profile: &ProviderProfile,
) -> Finding {
    let absence = match absence(context, task, attempt, profile).await {
        Ok(absence) => absence,
        Err(retry) => return Finding::Nothing { retry_after: Some(retry), settles_in: None },
    };
    if let Idempotency::Key { ttl } = profile.idempotency
        && context.now() + CLOCK_MARGIN.min(ttl / 2) < attempt.intent_at + ttl
        && task.late.is_none()
    {
        return send_again(context, task, attempt, absence).await;
    }
    if profile.lookup == Lookup::None {
        return if is_off(Rule::R7) { Finding::Absent(Vec::new()) } else { NOTHING };
    }
    let looked_since = *task.memory.looked_since.get_or_insert(context.parts.clock.monotonic());
    look_up(context, task, attempt, provider, profile, absence, looked_since).await
}

const NOTHING: Finding = Finding::Nothing { retry_after: None, settles_in: None };

/// Whether "not found" may prove anything yet (rule R7 a and c).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// It may.
    Settled,
    /// After this time.
    In(Duration),
    /// The sender may send yet: a missed beat is not death, and it has not said that its request ended.
    SenderLives,
}

impl Absence {
    fn nothing(self, retry_after: Option<Duration>) -> Finding {
        let settles_in = match self {
            Self::In(wait) => Some(wait),
            Self::Settled | Self::SenderLives => None,
        };
        Finding::Nothing { retry_after, settles_in }
    }
}

/// Counts from the moment at which we ourselves knew that nobody sends any more, on our monotonic clock: the intent's
/// wall-clock times are another machine's, and a stopped process sends long after them.
async fn absence(
    context: &Context,
    task: &mut Task,
    attempt: &Attempt,
    profile: &ProviderProfile,
) -> Result<Absence, Duration> {
    if is_off(Rule::R7) {
        return Ok(Absence::Settled);
    }
    let now = context.parts.clock.monotonic();
    let quiet_since = match task.memory.quiet_since.or_else(|| ended_since(context, attempt, profile)) {
        Some(since) => since,
        // Our own send, but its end is not remembered: it may be under way.
        None if attempt.executor == context.executor => now + context.parts.config.send_window + profile.submit_timeout,
        None => {
            let fallen = context.fallen.has(attempt.executor);
            if !fallen && !context.parts.store.sender_is_dead(attempt.executor).await.map_err(|_| CALL_LIMIT)? {
                return Ok(Absence::SenderLives);
            }
            now
        }
    };
    task.memory.quiet_since = Some(quiet_since);
    let lag = profile.lookup.lag();
    // Accepted at the end of the settle time, it may be missing from the list for the lag after that.
    let wait = (quiet_since + profile.absence_settle + lag).saturating_sub(now);
    Ok(if wait.is_zero() { Absence::Settled } else { Absence::In(wait) })
}

/// Since when, on our monotonic clock, the request is over by its sender's own word: since now, as far as we know, or
/// earlier, but for a jump of the store's clock.
///
/// Where keys are recognised later owners may have sent the same purchase again (rule R8), and no row names them: there
/// the word of the first sender is not enough.
fn ended_since(context: &Context, attempt: &Attempt, profile: &ProviderProfile) -> Option<Duration> {
    let ended_at = attempt.request_ended_at.filter(|_| profile.idempotency == Idempotency::None)?;
    let surely = context.now().since(ended_at).saturating_sub(CLOCK_MARGIN);
    Some(context.parts.clock.monotonic().saturating_sub(surely))
}

/// Rule R8: the same purchase under the same key. A refusal closes the attempt only where no other send of it can be under way.
async fn send_again(context: &Context, task: &Task, attempt: &Attempt, absence: Absence) -> Finding {
    let Some(entry) = context.entry(attempt).cloned() else { return NOTHING };
    let request = match context.parts.store.request(task.work.job).await {
        Ok(Some(request)) => request,
        _ => return NOTHING,
    };
    let input = match &request.input {
        None => None,
        Some(image) => match context.parts.artifacts.read(&image.key, 0..image.bytes).await {
            Ok(bytes) => Some(longtake_core::provider::InputBytes { media_type: image.media_type.clone(), bytes }),
            Err(_) => return NOTHING,
        },
    };
    let client_ref = if is_off(Rule::R8) {
        ClientRef::from_hash(&u128::from(context.parts.random.u64()).to_be_bytes())
    } else {
        attempt.client_ref.clone()
    };
    if !context.trust.holds(context.parts.clock.monotonic()) {
        return NOTHING;
    }
    let route = context.route_of(attempt);
    let request = SubmitRequest {
        job: task.work.job,
        attempt: attempt.n,
        model: route.model.clone(),
        request,
        input,
        client_ref,
        callback_url: callback_url(context, &entry, attempt.account, task.work.job, attempt.n),
    };
    let (answer, exchanges) = send(context, &entry, &route, &request).await;
    let retry_after = answer.as_ref().err().and_then(longtake_core::provider::ProviderError::retry_after);
    match evidence_of(&answer) {
        Evidence::Unknown => absence.nothing(retry_after),
        // "Busy" and "not sent" say nothing about the first send of this key.
        Evidence::NotAccepted(rejection) if rejection.retry == longtake_core::attempt::Retry::Free => {
            absence.nothing(retry_after)
        }
        // Even then the refusal is the owner's decision, not evidence: the first send may still be accepted late.
        Evidence::NotAccepted(_) if !is_off(Rule::R8) => match absence {
            Absence::Settled => Finding::Absent(exchanges),
            Absence::In(_) | Absence::SenderLives => absence.nothing(retry_after),
        },
        evidence => {
            testify(context, task.work.job, attempt, evidence, exchanges).await;
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
    looked_since: Duration,
) -> Finding {
    let Ok(Some(request)) = context.parts.store.request(task.work.job).await else { return NOTHING };
    let mut find = FindRequest {
        client_ref: attempt.client_ref.clone(),
        model: attempt.model.clone(),
        request,
        since: attempt.intent_at - CLOCK_MARGIN,
    };
    let (mut unclaimed, complete, mut exchanges) = match ask_for(context, attempt, provider, profile, &find).await {
        Ok(answer) => answer,
        Err(retry_after) => return absence.nothing(retry_after),
    };
    if profile.lookup != Lookup::ByRef && !matches!(unclaimed, Unclaimed::None) {
        // A listing that lags may still hide the true one behind its double.
        if context.parts.clock.monotonic() < looked_since + profile.lookup.lag() {
            return absence.nothing(None);
        }
    }
    if matches!(profile.lookup, Lookup::ListByShape { .. }) && !matches!(unclaimed, Unclaimed::None) {
        find.since = attempt.intent_at - ADOPT_MARGIN;
        (unclaimed, exchanges) = match ask_for(context, attempt, provider, profile, &find).await {
            Ok((Unclaimed::One(one), _, exchanges)) => (Unclaimed::One(one), exchanges),
            Ok(_) => return absence.nothing(None),
            Err(retry_after) => return absence.nothing(retry_after),
        };
        if !alone_in_doubt(context, attempt).await {
            return absence.nothing(None);
        }
    }
    match unclaimed {
        Unclaimed::One(provider_job) => {
            count(&context.metrics.adopted);
            let (job, evidence) = (task.work.job, Evidence::Accepted(provider_job));
            match profile.lookup {
                Lookup::ByRef => testify(context, job, attempt, evidence, exchanges).await,
                _ => testify_by_resemblance(context, job, attempt, evidence, exchanges).await,
            }
            Finding::Testified
        }
        Unclaimed::None if complete && absence == Absence::Settled => Finding::Absent(exchanges),
        Unclaimed::None | Unclaimed::Many => absence.nothing(None),
    }
}

/// One look-up; what other attempts already have is left out. `Err` carries the wait the provider asked for.
async fn ask_for(
    context: &Context,
    attempt: &Attempt,
    provider: &dyn Provider,
    profile: &ProviderProfile,
    find: &FindRequest,
) -> Result<(Unclaimed, bool, Vec<Exchange>), Option<Duration>> {
    let call = Call::new(attempt.account);
    count(&context.metrics.lookups);
    let found = match context.within(CALL_LIMIT, provider.find(&call, find)).await {
        Some(Ok(found)) => found,
        Some(Err(error)) => return Err(error.retry_after()),
        None => return Err(None),
    };
    let rest = unclaimed(context, attempt, profile, &found).await.ok_or(None)?;
    Ok((rest, found.complete, call.into_exchanges()))
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
    if profile.lookup != Lookup::ByRef && !candidates.is_empty() {
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

/// Where a list shows shapes only, a job of the same shape may belong to any attempt in doubt: with two of them it proves nothing.
async fn alone_in_doubt(context: &Context, attempt: &Attempt) -> bool {
    let since = attempt.intent_at - CLOCK_MARGIN;
    context.parts.store.in_doubt(attempt.account, since).await.is_ok_and(|others| others <= 1)
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
