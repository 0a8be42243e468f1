//! One submission: permits, the intent, one send, and what its answer proves (rules R1-R3, R6, R9, R10).

use std::sync::Arc;
use std::time::Duration;

use longtake_core::ablation::{Rule, is_off};
use longtake_core::apply::Input;
use longtake_core::artifact::ArtifactError;
use longtake_core::attempt::{Attempt, AttemptState, Evidence, Rejection, Retry};
use longtake_core::failpoint;
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, AttemptNo, JobId, Nonce, ProviderJobId};
use longtake_core::limits::AttemptLimits;
use longtake_core::provider::{Call, Exchange, Idempotency, InputBytes, ProviderError, SubmitRequest, evidence_of};
use longtake_core::request::VideoRequest;
use longtake_core::route::Route;
use longtake_core::store::{EvidenceRecord, OpenAttempt, OpenResult, StoreError, Wake};
use longtake_core::time::Timestamp;

use crate::callback;
use crate::client_ref::client_ref;
use crate::config::AccountEntry;
use crate::context::Context;
use crate::metrics::count;
use crate::steps::{Committed, budget, cannot_drive, changed, decide, later, reload};
use crate::task::{Done, Next, Task};
use crate::turn::{self, Turn};

/// Wait before evidence that could not be recorded is recorded again.
const EVIDENCE_AGAIN: Duration = Duration::from_millis(500);

/// Makes one attempt.
pub(crate) async fn perform(context: &Context, mut task: Task) -> Done {
    let Some(route) = context.next_route(&task, &task.record.model).cloned() else {
        return cannot_drive(context, task, "its model has no route");
    };
    let wanted = match request_of(context, &task).await {
        Ok(wanted) => wanted,
        Err(error) => return not_yet(context, task, &route, &error),
    };
    match turn::of(context, &task, &wanted).await {
        Ok(Turn::Skip(skipped)) if skipped == task.memory.skipped => {}
        Ok(Turn::Skip(skipped)) => {
            // Into the row of the account that it goes to.
            task.memory.skipped = skipped;
            return Done::keep(task, Next::Now);
        }
        Ok(Turn::OverLimit) => return decide(context, task, Input::OverLimit, Vec::new()).await,
        Ok(Turn::SourceElsewhere) => {
            return cannot_drive(context, task, "no route of its model leads to the account that made its source");
        }
        Err(error) => return not_yet(context, task, &route, &error.to_string()),
    }
    let Some(entry) = context.driven(route.account).cloned() else {
        return cannot_drive(context, task, "the account of its route is not configured");
    };
    let n = task.record.next_attempt();
    let request = match prepare(context, &task, &entry, &route, n, wanted).await {
        Ok(request) => request,
        Err(error) => return not_yet(context, task, &route, &error),
    };
    failpoint::hit("C3");
    if is_off(Rule::R1) {
        let _ = send(context, &entry, &route, &request).await;
    }
    let (attempt, begun) = (intent(context, &route, &request), context.parts.clock.monotonic());
    let limits = AttemptLimits { pool: route.pool, account: entry.limits, model: route.limits };
    match open(context, &mut task, limits, attempt.clone()).await {
        Opened::Yes => {}
        Opened::Full(again) => return Done::keep(task, Next::Queue(route.account, again)),
        Opened::Changed => return changed(task),
        Opened::Gone => return Done::gone(&task),
    }
    failpoint::hit("C5");
    let (evidence, exchanges) = send_once(context, &entry, &route, &request, begun).await;
    failpoint::hit("C7");
    task.memory.quiet_since = Some(context.parts.clock.monotonic());
    // Where keys are recognised a successor may have sent the same purchase again: then our refusal closes nothing.
    let keys = entry.provider.profile(route.account).idempotency;
    let own = (keys != Idempotency::None).then_some(attempt.nonce);
    let ended = Some(attempt.sender());
    let (job, attempt) = (task.work.job, attempt.n);
    record(context, EvidenceRecord { nonce: own, ended, ..testimony(job, attempt, evidence, exchanges) }).await;
    let input = Input::Fold(budget(context, &task));
    decide(context, task, input, Vec::new()).await
}

async fn request_of(context: &Context, task: &Task) -> Result<Arc<VideoRequest>, String> {
    let request = context.parts.store.request(task.work.job).await.map_err(|error| error.to_string())?;
    Ok(request.ok_or("its request is not stored")?)
}

/// Something of ours did not answer. Nothing was sent, so it is tried again.
fn not_yet(context: &Context, task: Task, route: &Route, error: &str) -> Done {
    tracing::warn!(job.id = %task.work.job, error, "cannot prepare the submission yet");
    match context.driven(route.account) {
        Some(entry) => later(task, entry.provider.profile(route.account), None),
        None => cannot_drive(context, task, "the account of its route is not configured"),
    }
}

/// Everything slow comes before the intent, so that the time in which a crash leaves doubt is short (rule R1).
async fn prepare(
    context: &Context,
    task: &Task,
    entry: &AccountEntry,
    route: &Route,
    n: AttemptNo,
    request: Arc<VideoRequest>,
) -> Result<SubmitRequest, String> {
    let input = match &request.input {
        None => None,
        Some(image) => {
            let bytes = context.parts.artifacts.read(&image.key, 0..image.bytes).await;
            let bytes = bytes.map_err(|error: ArtifactError| format!("its input image: {error}"))?;
            Some(InputBytes { media_type: image.media_type.clone(), bytes })
        }
    };
    Ok(SubmitRequest {
        job: task.work.job,
        attempt: n,
        model: route.model.clone(),
        request,
        input,
        client_ref: client_ref(&context.parts.secret_key, task.record.project, task.work.job, n),
        callback_url: callback_url(context, entry, route.account, task.work.job, n),
    })
}

/// Where the provider shall call back about this attempt; the same whoever sends it.
pub(crate) fn callback_url(
    context: &Context,
    entry: &AccountEntry,
    account: AccountId,
    job: JobId,
    n: AttemptNo,
) -> Option<Box<str>> {
    let base = context.parts.config.callback_base.as_deref()?;
    let provider = &entry.provider;
    provider.profile(account).callback.then(|| callback::url(base, &context.parts.secret_key, provider.name(), job, n))
}

fn intent(context: &Context, route: &Route, request: &SubmitRequest) -> Attempt {
    let now = context.now();
    Attempt {
        n: request.attempt,
        state: AttemptState::Intent,
        executor: context.executor,
        nonce: Nonce(i64::from_le_bytes(context.parts.random.u64().to_le_bytes())),
        account: route.account,
        model: route.model.clone(),
        client_ref: request.client_ref.clone(),
        provider_job: None,
        intent_at: now,
        send_deadline_at: now + context.parts.config.send_window,
        resolved_at: None,
        request_ended_at: None,
        rejection: None,
        decision: None,
    }
}

enum Opened {
    Yes,
    /// No slot, or no permit before then.
    Full(Option<Timestamp>),
    Changed,
    Gone,
}

/// Makes the intent durable. Only `Yes` permits to send (rules R1, R2).
async fn open(context: &Context, task: &mut Task, limits: AttemptLimits, attempt: Attempt) -> Opened {
    let (n, sender) = (attempt.n, attempt.sender());
    let intent = OpenAttempt { work: task.work, fence: task.fence, attempt, limits };
    match context.opens.submit(intent).await {
        Ok(OpenResult::Opened(record)) => {
            task.refresh(record, None);
            Opened::Yes
        }
        Ok(OpenResult::Conflict(record)) => {
            task.refresh(record, None);
            Opened::Changed
        }
        Ok(OpenResult::Doubted(record)) => {
            tracing::warn!(job.id = %task.work.job, "it may have been submitted in a history that was lost, finding out");
            task.refresh(record, None);
            Opened::Changed
        }
        Ok(OpenResult::Stale) => Opened::Gone,
        Ok(OpenResult::AccountFull) => Opened::Full(None),
        Ok(OpenResult::Paced(again)) => Opened::Full(Some(again)),
        Err(StoreError::CommitUnknown) if is_off(Rule::R2) => Opened::Yes,
        Err(error) => {
            tracing::warn!(job.id = %task.work.job, %error, "the intent was not confirmed, nothing is sent");
            // This execution knows that it did not send: if the row is there after all, that settles it.
            let evidence = Evidence::NotAccepted(not_sent("the intent was not confirmed in time"));
            let (nonce, ended) = (Some(sender.nonce), Some(sender));
            let said = EvidenceRecord { nonce, ended, ..testimony(task.work.job, n, evidence, Vec::new()) };
            record(context, said).await;
            match reload(context, task).await {
                Committed::Gone => Opened::Gone,
                Committed::Applied | Committed::Changed => Opened::Changed,
            }
        }
    }
}

/// The one send of an intent, bounded by its time, which `begun` with it, and by the trust in our ownership (rules R3, R10).
async fn send_once(
    context: &Context,
    entry: &AccountEntry,
    route: &Route,
    request: &SubmitRequest,
    begun: Duration,
) -> (Evidence, Vec<Exchange>) {
    let now = context.parts.clock.monotonic();
    let in_time = now <= begun + context.parts.config.send_window;
    let trusted = context.trust.holds(now);
    let may_send = (in_time && trusted) || is_off(Rule::R10);
    if !may_send {
        let why = "it could not be sent within its time";
        return (Evidence::NotAccepted(not_sent(why)), Vec::new());
    }
    let (mut answer, mut exchanges) = send(context, entry, route, request).await;
    if is_off(Rule::R3) && matches!(answer, Err(ProviderError::Unknown { .. })) {
        (answer, exchanges) = send(context, entry, route, request).await;
    }
    let metrics = &context.metrics;
    if matches!(answer, Err(ProviderError::RateLimited { .. })) {
        count(&metrics.rate_limited);
    }
    let evidence = evidence_of(&answer);
    count(match &evidence {
        Evidence::Accepted(_) => &metrics.submits_accepted,
        Evidence::NotAccepted(_) => &metrics.submits_refused,
        Evidence::Unknown => &metrics.submits_unknown,
    });
    if let Err(error) = &answer {
        tracing::info!(job.id = %request.job, attempt = request.attempt.0, account = entry.name, %error, "submission not accepted");
    }
    (evidence, exchanges)
}

/// Puts the request on the wire.
pub(crate) async fn send(
    context: &Context,
    entry: &AccountEntry,
    route: &Route,
    request: &SubmitRequest,
) -> (Result<ProviderJobId, ProviderError>, Vec<Exchange>) {
    let call = Call::new(route.account);
    count(&context.metrics.submits);
    let limit = entry.provider.profile(route.account).submit_timeout;
    let answer = context.within(limit, entry.provider.submit(&call, request)).await;
    let answer = answer.unwrap_or_else(|| {
        Err(ProviderError::Unknown { source: "no answer within the time for one".into(), retry_after: None })
    });
    (answer, call.into_exchanges())
}

fn not_sent(why: &str) -> Rejection {
    Rejection { failure: Failure::new(FailureCode::ProviderUnavailable, why), retry: Retry::Free, retry_after: None }
}

/// Hands in what was found out about an attempt. It says nothing about its sender, who may be another and send yet.
pub(crate) async fn testify(
    context: &Context,
    job: JobId,
    attempt: &Attempt,
    evidence: Evidence,
    exchanges: Vec<Exchange>,
) {
    record(context, testimony(job, attempt.n, evidence, exchanges)).await;
}

/// The same of what merely resembles it.
pub(crate) async fn testify_by_resemblance(
    context: &Context,
    job: JobId,
    attempt: &Attempt,
    evidence: Evidence,
    exchanges: Vec<Exchange>,
) {
    record(context, EvidenceRecord { by_resemblance: true, ..testimony(job, attempt.n, evidence, exchanges) }).await;
}

/// Anyone's word.
fn testimony(job: JobId, attempt: AttemptNo, evidence: Evidence, exchanges: Vec<Exchange>) -> EvidenceRecord {
    let wake = Wake::Others;
    EvidenceRecord { job, attempt, nonce: None, ended: None, evidence, by_resemblance: false, exchanges, wake }
}

/// Rule R5: repeated until it commits, whoever owns the job by then.
async fn record(context: &Context, record: EvidenceRecord) {
    while let Err(error) = context.evidence.submit(record.clone()).await {
        tracing::warn!(job.id = %record.job, %error, "evidence is not recorded yet, trying again");
        context.parts.clock.sleep(EVIDENCE_AGAIN).await;
    }
}

/// An intent this incarnation did not write: it is never sent, its outcome is found out (rule R4).
pub(crate) async fn take_over(context: &Context, mut task: Task) -> Done {
    if is_off(Rule::R4)
        && let Some(attempt) = task.record.attempt.clone()
        && let Some(entry) = context.entry(&attempt).cloned()
    {
        let route = context.route_of(&attempt);
        if let Ok(wanted) = request_of(context, &task).await
            && let Ok(mut request) = prepare(context, &task, &entry, &route, attempt.n, wanted).await
        {
            request.client_ref = attempt.client_ref.clone();
            let (answer, exchanges) = send(context, &entry, &route, &request).await;
            testify(context, task.work.job, &attempt, evidence_of(&answer), exchanges).await;
        }
        task.memory.quiet_since = Some(context.parts.clock.monotonic());
        let input = Input::Fold(budget(context, &task));
        return decide(context, task, input, Vec::new()).await;
    }
    decide(context, task, Input::TakenOver, Vec::new()).await
}
