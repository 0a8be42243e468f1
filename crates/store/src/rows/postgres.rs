//! Rows of PostgreSQL. The order of columns is that of the query files that name this one.

use longtake_core::artifact::{Artifact, ArtifactKey, Digest, MediaInfo};
use longtake_core::attempt::{Attempt, AttemptState, Decision, Rejection, Retry, Verdict};
use longtake_core::event::{EventKind, JobEvent};
use longtake_core::failure::Failure;
use longtake_core::id::{
    AccountId, AttemptNo, ClientRef, DeliveryId, EndpointId, ExecutorId, Fence, JobId, Nonce, ProjectId,
};
use longtake_core::provider::Exchange;
use longtake_core::record::{Cancel, CancelOutcome, Record};
use longtake_core::store::{ApiKey, Claim, ExecutorRow, Job, ProcessInfo, WorkKey, WorkKind};
use longtake_core::time::Timestamp;
use longtake_core::webhook::{Delivery, DeliveryState, Endpoint, EndpointStatus, EventTypes, Try};
use std::sync::Arc;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::webhooks::salts_from;
use super::{Result, call_from, duration, failure, provider_job, request_from, snapshot_from, state_from, unreadable};

/// Columns of a record before those of its latest attempt.
const RECORD: usize = 18;
/// Columns of an attempt.
const ATTEMPT: usize = 18;

/// One column.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(unreadable)
}

fn time(row: &Row, column: usize) -> Result<Timestamp> {
    get(row, column).map(Timestamp::from_micros)
}

fn time_or_none(row: &Row, column: usize) -> Result<Option<Timestamp>> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_micros))
}

fn number<'a, S: FromSql<'a>, T: TryFrom<S>>(row: &'a Row, column: usize) -> Result<T> {
    T::try_from(get::<S>(row, column)?).map_err(|_| unreadable("a number out of its range"))
}

/// The id in a column.
pub(crate) fn job_id(row: &Row, column: usize) -> Result<JobId> {
    Ok(JobId::from_bytes(*get::<Uuid>(row, column)?.as_bytes()))
}

/// An id as it is bound.
pub(crate) fn uuid_of(job: JobId) -> Uuid {
    Uuid::from_bytes(*job.as_bytes())
}

/// The stored number of a kind of work.
pub(crate) const fn kind_of(kind: WorkKind) -> i16 {
    kind as i16
}

/// The key of a work row in three columns from `first` on.
pub(crate) fn work_key(row: &Row, first: usize) -> Result<WorkKey> {
    let kind = match get::<i16>(row, first + 1)? {
        0 => WorkKind::Drive,
        2 => WorkKind::Watch,
        _ => return Err(unreadable("work of an unknown kind")),
    };
    Ok(WorkKey { job: job_id(row, first)?, kind, reference: get(row, first + 2)? })
}

fn failure_or_none(row: &Row, column: usize) -> Result<Option<Failure>> {
    let code: Option<&str> = get(row, column)?;
    let message: Option<&str> = get(row, column + 1)?;
    code.map(|code| failure(code, message.unwrap_or_default())).transpose()
}

/// Eighteen columns; what the state carries stands on the latest attempt.
pub(crate) fn record_from(row: &Row, attempt: Option<Attempt>) -> Result<Record> {
    let cancel = match (time_or_none(row, 11)?, get::<Option<i16>>(row, 12)?) {
        (Some(requested_at), Some(outcome)) => {
            let outcome =
                CancelOutcome::from_number(outcome).ok_or_else(|| unreadable("an unknown outcome of a cancel"))?;
            Some(Cancel { requested_at, outcome })
        }
        _ => None,
    };
    let progress = match get::<Option<i16>>(row, 14)? {
        None => None,
        Some(percent) => Some(u8::try_from(percent).map_err(unreadable)?),
    };
    Ok(Record {
        job: job_id(row, 0)?,
        project: ProjectId(get(row, 1)?),
        model: get::<&str>(row, 2)?.into(),
        state: state_from(get(row, 3)?, failure_or_none(row, 5)?, attempt.as_ref())?,
        ver: number::<i32, _>(row, 4)?,
        created_at: time(row, 7)?,
        finished_at: time_or_none(row, 8)?,
        deadline: get::<Option<i64>>(row, 9)?.map(duration),
        deadline_at: time_or_none(row, 10)?,
        cancel,
        priority: get(row, 13)?,
        progress,
        first_attempt: AttemptNo(number::<i32, _>(row, 15)?),
        attempts_used: number::<i32, _>(row, 16)?,
        unavailable_since: time_or_none(row, 17)?,
        attempt,
    })
}

/// A record behind which its latest attempt follows.
fn record_with_attempt(row: &Row) -> Result<Record> {
    let attempt = attempt_or_none(row, RECORD)?;
    record_from(row, attempt)
}

fn attempt_or_none(row: &Row, first: usize) -> Result<Option<Attempt>> {
    if get::<Option<i32>>(row, first)?.is_some() { attempt_from(row, first).map(Some) } else { Ok(None) }
}

/// Eighteen columns from `first` on.
pub(crate) fn attempt_from(row: &Row, first: usize) -> Result<Attempt> {
    let rejection = match failure_or_none(row, first + 11)? {
        None => None,
        Some(failure) => Some(Rejection {
            failure,
            retry: Retry::from_number(get(row, first + 13)?).ok_or_else(|| unreadable("an unknown retry"))?,
            retry_after: get::<Option<i64>>(row, first + 14)?.map(duration),
        }),
    };
    let decision = match get::<Option<i16>>(row, first + 15)? {
        None => None,
        Some(verdict) => Some(Decision {
            verdict: Verdict::from_number(verdict).ok_or_else(|| unreadable("an unknown verdict"))?,
            by: get::<&str>(row, first + 16)?.into(),
        }),
    };
    Ok(Attempt {
        n: AttemptNo(number::<i32, _>(row, first)?),
        state: AttemptState::from_number(get(row, first + 1)?).ok_or_else(|| unreadable("an unknown attempt state"))?,
        executor: ExecutorId(get(row, first + 2)?),
        nonce: Nonce(get(row, first + 3)?),
        account: AccountId(get(row, first + 4)?),
        model: get::<&str>(row, first + 5)?.into(),
        client_ref: ClientRef::from_stored(get(row, first + 6)?),
        provider_job: get::<Option<&str>>(row, first + 7)?.map(provider_job).transpose()?,
        intent_at: time(row, first + 8)?,
        send_deadline_at: time(row, first + 9)?,
        resolved_at: time_or_none(row, first + 10)?,
        request_ended_at: time_or_none(row, first + 17)?,
        rejection: rejection.map(Box::new),
        decision,
    })
}

/// Eleven columns from `first` on.
pub(crate) fn artifact_from(row: &Row, first: usize) -> Result<Artifact> {
    let sha256 = get::<&[u8]>(row, first + 4)?.try_into().map_err(unreadable)?;
    Ok(Artifact {
        attempt: AttemptNo(number::<i32, _>(row, first)?),
        n: number::<i32, _>(row, first + 1)?,
        key: ArtifactKey::from_stored(get(row, first + 2)?),
        bytes: number::<i64, _>(row, first + 3)?,
        sha256: Digest(sha256),
        media_type: get::<&str>(row, first + 5)?.into(),
        media: MediaInfo {
            width: number::<i64, _>(row, first + 6)?,
            height: number::<i64, _>(row, first + 7)?,
            duration_ms: number::<i64, _>(row, first + 8)?,
            frames: number::<i64, _>(row, first + 9)?,
            codec: get::<&str>(row, first + 10)?.into(),
        },
    })
}

/// The columns of `views.sql`, and whether the job is hidden.
pub(crate) fn view_from(row: &Row) -> Result<(Job, bool)> {
    let hidden = RECORD + ATTEMPT;
    let record = record_with_attempt(row)?;
    let req: Option<&[u8]> = get(row, hidden + 2)?;
    let request = request_from(
        &record.model,
        get(row, hidden + 1)?,
        req.ok_or_else(|| unreadable("a job without its request"))?,
    )?;
    let output = match get::<Option<i32>>(row, hidden + 3)? {
        None => None,
        Some(_) => Some(artifact_from(row, hidden + 3)?),
    };
    Ok((Job { record, request: Arc::new(request), output }, get(row, hidden)?))
}

/// The columns of `claims.sql`; `None` for a watch row without its attempt.
pub(crate) fn claim_from(row: &Row) -> Result<Option<Claim>> {
    let late = attempt_or_none(row, RECORD + ATTEMPT)?;
    let key = RECORD + 2 * ATTEMPT;
    let work = work_key(row, key)?;
    if work.kind == WorkKind::Watch && late.is_none() {
        return Ok(None);
    }
    Ok(Some(Claim { work, fence: Fence(get(row, key + 3)?), record: record_with_attempt(row)?, late }))
}

/// Four columns from `first` on: number, kind, time and snapshot.
pub(crate) fn event_from(row: &Row, first: usize, job: JobId) -> Result<JobEvent> {
    Ok(JobEvent {
        job,
        ver: number::<i32, _>(row, first)?,
        kind: EventKind::from_number(get(row, first + 1)?).ok_or_else(|| unreadable("an event of an unknown kind"))?,
        at: time(row, first + 2)?,
        snapshot: snapshot_from(get(row, first + 3)?)?,
    })
}

/// The columns of `exchanges.sql`.
pub(crate) fn exchange_from(row: &Row) -> Result<(AttemptNo, Exchange)> {
    let status = match get::<Option<i32>>(row, 4)? {
        None => None,
        Some(status) => Some(u16::try_from(status).map_err(unreadable)?),
    };
    let exchange = Exchange {
        call: call_from(get(row, 1)?),
        at: time(row, 2)?,
        request: get::<&str>(row, 3)?.into(),
        status,
        duration_ms: number::<i64, _>(row, 5)?,
        answer: get::<&str>(row, 6)?.into(),
    };
    Ok((AttemptNo(number::<i32, _>(row, 0)?), exchange))
}

/// The columns of `keys.sql` and `key_find.sql`.
pub(crate) fn key_from(row: &Row) -> Result<ApiKey> {
    Ok(ApiKey {
        id: get(row, 0)?,
        name: get(row, 1)?,
        project: ProjectId(get(row, 2)?),
        hash: get::<&[u8]>(row, 3)?.try_into().map_err(unreadable)?,
        scopes: get(row, 4)?,
        created_at: time(row, 5)?,
        revoked_at: time_or_none(row, 6)?,
    })
}

/// Six columns from `first` on.
pub(crate) fn process_from(row: &Row, first: usize) -> Result<ProcessInfo> {
    Ok(ProcessInfo {
        host: get(row, first)?,
        boot_id: get(row, first + 1)?,
        pid_namespace: get(row, first + 2)?,
        pid: get(row, first + 3)?,
        started_ticks: get(row, first + 4)?,
    })
}

/// The columns of `executors.sql`.
pub(crate) fn executor_from(row: &Row) -> Result<ExecutorRow> {
    Ok(ExecutorRow {
        executor: ExecutorId(get(row, 0)?),
        process: process_from(row, 1)?,
        started_at: time(row, 6)?,
        beat_at: time(row, 7)?,
        dead_at: time_or_none(row, 8)?,
        process_dead_at: time_or_none(row, 9)?,
        in_doubt: number::<i64, _>(row, 10)?,
    })
}

/// Event types as they are bound: 31 bits.
pub(crate) fn types_of(types: EventTypes) -> i32 {
    i32::try_from(types.bits()).unwrap_or(i32::MAX)
}

/// The columns of `endpoint_get.sql`, from `first` on.
pub(crate) fn endpoint_from(row: &Row, first: usize) -> Result<Endpoint> {
    Ok(Endpoint {
        id: EndpointId(get(row, first)?),
        project: ProjectId(get(row, first + 1)?),
        url: get::<Option<&str>>(row, first + 2)?.map(Into::into),
        origin: get::<&str>(row, first + 3)?.into(),
        types: EventTypes::from_bits(number::<i32, _>(row, first + 4)?),
        description: get::<&str>(row, first + 5)?.into(),
        status: EndpointStatus::from_number(get(row, first + 6)?)
            .ok_or_else(|| unreadable("an unknown status of an endpoint"))?,
        salts: salts_from(get(row, first + 7)?)?,
        created_at: time(row, first + 8)?,
        failures: number::<i64, _>(row, first + 9)?,
        open_until: time(row, first + 10)?,
    })
}

/// The columns of `deliveries.sql`, from the first on.
pub(crate) fn delivery_from(row: &Row) -> Result<Delivery> {
    Ok(Delivery {
        id: DeliveryId(get(row, 0)?),
        endpoint: EndpointId(get(row, 1)?),
        job: job_id(row, 2)?,
        ver: number::<i32, _>(row, 3)?,
        kind: EventKind::from_number(get(row, 4)?).ok_or_else(|| unreadable("a delivery of an unknown event"))?,
        at: time(row, 5)?,
        state: DeliveryState::from_number(get(row, 6)?).ok_or_else(|| unreadable("an unknown state of a delivery"))?,
        due_at: time_or_none(row, 7)?.unwrap_or(Timestamp::NEVER),
        tries: number::<i64, _>(row, 8)?,
        begun_at: time(row, 9)?,
    })
}

/// The columns of `tries.sql`.
pub(crate) fn try_from(row: &Row) -> Result<(DeliveryId, Try)> {
    let status = match get::<Option<i32>>(row, 2)? {
        None => None,
        Some(status) => Some(u16::try_from(status).map_err(unreadable)?),
    };
    let log =
        Try { at: time(row, 1)?, status, duration_ms: number::<i64, _>(row, 3)?, words: get::<&str>(row, 4)?.into() };
    Ok((DeliveryId(get(row, 0)?), log))
}
