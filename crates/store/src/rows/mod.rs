//! Rows ↔ domain: the integers and texts in the database and the types of longtake-core.
//!
//! Numbers are those of the domain; a row that the domain cannot read is an error of the operation that met it, never a
//! guess. The order of columns is that of the query files that name this one. Absent: SQL, rules.

mod json;
pub(crate) mod postgres;
pub(crate) mod webhooks;

use std::time::Duration;

use longtake_core::BoxError;
use longtake_core::artifact::{Artifact, ArtifactKey, Digest, MediaInfo};
use longtake_core::attempt::{Attempt, AttemptState, Decision, Rejection, Retry, Verdict};
use longtake_core::event::{EventKind, JobEvent};
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, AttemptNo, ClientRef, ExecutorId, Fence, JobId, Nonce, ProjectId, ProviderJobId};
use longtake_core::provider::Exchange;
use longtake_core::record::{Cancel, CancelOutcome, Record};
use longtake_core::state::{JobState, StateName, Status};
use longtake_core::store::{ApiKey, WorkKey, WorkKind};
use longtake_core::time::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Error, Row};

pub(crate) use json::{metadata_text, request_bytes, request_from, snapshot_from, snapshot_text};

/// Something stored that the domain cannot read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(BoxError);

/// What reading gives, in either database.
pub(crate) type Result<T, E = Unreadable> = std::result::Result<T, E>;

/// Says what cannot be read.
pub(crate) fn unreadable(what: impl Into<BoxError>) -> Unreadable {
    Unreadable(what.into())
}

impl From<Unreadable> for Error {
    fn from(unreadable: Unreadable) -> Self {
        Self::FromSqlConversionFailure(0, Type::Null, unreadable.0)
    }
}

/// A row that the domain cannot read.
pub(crate) fn corrupt(what: impl Into<BoxError>) -> Error {
    unreadable(what).into()
}

/// Lengths and counts fit 63 bits.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A duration as it is stored.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A duration from what is stored.
pub(crate) fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn number<T: TryFrom<i64>>(row: &Row<'_>, column: usize) -> Result<T, Error> {
    T::try_from(row.get::<_, i64>(column)?).map_err(|_| corrupt("a number out of its range"))
}

fn number_or_none<T: TryFrom<i64>>(row: &Row<'_>, column: usize) -> Result<Option<T>, Error> {
    let stored: Option<i64> = row.get(column)?;
    stored.map(T::try_from).transpose().map_err(|_| corrupt("a number out of its range"))
}

fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, Error> {
    Ok(Timestamp::from_micros(row.get(column)?))
}

fn time_or_none(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Error> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

/// The id in a column.
pub(crate) fn job_id(row: &Row<'_>, column: usize) -> Result<JobId, Error> {
    Ok(JobId::from_bytes(row.get(column)?))
}

/// The key of a work row in three columns.
pub(crate) fn work_key(row: &Row<'_>) -> Result<WorkKey, Error> {
    let kind = match row.get::<_, i64>(1)? {
        0 => WorkKind::Drive,
        2 => WorkKind::Watch,
        _ => return Err(corrupt("work of an unknown kind")),
    };
    Ok(WorkKey { job: job_id(row, 0)?, kind, reference: row.get(2)? })
}

/// The stored number of a kind of work.
pub(crate) const fn kind_number(kind: WorkKind) -> i64 {
    match kind {
        WorkKind::Drive => 0,
        WorkKind::Watch => 2,
    }
}

/// Owner and fence, behind a record.
pub(crate) fn ownership(row: &Row<'_>) -> Result<(Option<ExecutorId>, Fence), Error> {
    Ok((row.get::<_, Option<i64>>(36)?.map(ExecutorId), Fence(row.get(37)?)))
}

/// Whether the job is hidden, behind a record.
pub(crate) fn is_hidden(row: &Row<'_>) -> Result<bool, Error> {
    row.get(36)
}

/// A failure from its two columns.
pub(crate) fn failure(code: &str, message: &str) -> Result<Failure> {
    let code = FailureCode::from_code(code).ok_or_else(|| unreadable("an unknown failure code"))?;
    Ok(Failure { code, message: message.into() })
}

fn failure_or_none(row: &Row<'_>, column: usize) -> Result<Option<Failure>, Error> {
    let code = row.get_ref(column)?.as_str_or_null()?;
    let message = row.get_ref(column + 1)?.as_str_or_null()?;
    Ok(code.map(|code| failure(code, message.unwrap_or_default())).transpose()?)
}

/// The columns of `record.sql` and `claim.sql`.
pub(crate) fn record_from(row: &Row<'_>) -> Result<Record, Error> {
    let attempt = match row.get_ref(18)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(attempt_from(row, 18)?),
    };
    let cancel = match (time_or_none(row, 11)?, row.get::<_, Option<i16>>(12)?) {
        (Some(requested_at), Some(outcome)) => {
            let outcome =
                CancelOutcome::from_number(outcome).ok_or_else(|| corrupt("an unknown outcome of a cancel"))?;
            Some(Cancel { requested_at, outcome })
        }
        _ => None,
    };
    Ok(Record {
        job: job_id(row, 0)?,
        project: ProjectId(row.get(1)?),
        model: row.get_ref(2)?.as_str()?.into(),
        state: state_from(row.get(3)?, failure_or_none(row, 5)?, attempt.as_ref())?,
        ver: number(row, 4)?,
        created_at: time(row, 7)?,
        finished_at: time_or_none(row, 8)?,
        deadline: row.get::<_, Option<i64>>(9)?.map(duration),
        deadline_at: time_or_none(row, 10)?,
        cancel,
        priority: number(row, 13)?,
        progress: number_or_none(row, 14)?,
        first_attempt: AttemptNo(number(row, 15)?),
        attempts_used: number(row, 16)?,
        unavailable_since: time_or_none(row, 17)?,
        attempt,
    })
}

/// What a state carries stands on its latest attempt.
pub(crate) fn state_from(number: i16, failure: Option<Failure>, latest: Option<&Attempt>) -> Result<JobState> {
    let attempt = || latest.map(|latest| latest.n).ok_or_else(|| unreadable("a state without its attempt"));
    let provider_job = || {
        latest
            .and_then(|latest| latest.provider_job.clone())
            .ok_or_else(|| unreadable("a state without its provider job"))
    };
    Ok(match StateName::from_number(number).ok_or_else(|| unreadable("an unknown state"))? {
        StateName::Queued => JobState::Queued,
        StateName::Submitting => JobState::Submitting { attempt: attempt()? },
        StateName::Verifying => JobState::Verifying { attempt: attempt()? },
        StateName::Held => JobState::Held { attempt: attempt()? },
        StateName::Running => JobState::Running { attempt: attempt()?, provider_job: provider_job()? },
        StateName::Storing => JobState::Storing { attempt: attempt()?, provider_job: provider_job()? },
        StateName::Completed => JobState::Completed,
        StateName::Failed => {
            JobState::Failed { failure: failure.ok_or_else(|| unreadable("a failed job without its reason"))? }
        }
        StateName::Canceled => JobState::Canceled,
    })
}

/// A provider's name for a job.
pub(crate) fn provider_job(text: &str) -> Result<ProviderJobId> {
    ProviderJobId::new(text).ok_or_else(|| unreadable("an impossible provider job"))
}

/// Eighteen columns from `first` on.
pub(crate) fn attempt_from(row: &Row<'_>, first: usize) -> Result<Attempt, Error> {
    let rejection = match failure_or_none(row, first + 11)? {
        None => None,
        Some(failure) => Some(Rejection {
            failure,
            retry: Retry::from_number(row.get(first + 13)?).ok_or_else(|| corrupt("an unknown retry"))?,
            retry_after: row.get::<_, Option<i64>>(first + 14)?.map(duration),
        }),
    };
    let decision = match row.get::<_, Option<i16>>(first + 15)? {
        None => None,
        Some(verdict) => Some(Decision {
            verdict: Verdict::from_number(verdict).ok_or_else(|| corrupt("an unknown verdict"))?,
            by: row.get_ref(first + 16)?.as_str()?.into(),
        }),
    };
    Ok(Attempt {
        n: AttemptNo(number(row, first)?),
        state: AttemptState::from_number(row.get(first + 1)?).ok_or_else(|| corrupt("an unknown attempt state"))?,
        executor: ExecutorId(row.get(first + 2)?),
        nonce: Nonce(row.get(first + 3)?),
        account: AccountId(number(row, first + 4)?),
        model: row.get_ref(first + 5)?.as_str()?.into(),
        client_ref: ClientRef::from_stored(row.get_ref(first + 6)?.as_str()?),
        provider_job: row.get_ref(first + 7)?.as_str_or_null()?.map(provider_job).transpose()?,
        intent_at: time(row, first + 8)?,
        send_deadline_at: time(row, first + 9)?,
        resolved_at: time_or_none(row, first + 10)?,
        request_ended_at: time_or_none(row, first + 17)?,
        rejection: rejection.map(Box::new),
        decision,
    })
}

/// The columns of `output.sql`.
pub(crate) fn artifact_from(row: &Row<'_>) -> Result<Artifact, Error> {
    Ok(Artifact {
        attempt: AttemptNo(number(row, 0)?),
        n: number(row, 1)?,
        key: ArtifactKey::from_stored(row.get_ref(2)?.as_str()?),
        bytes: number(row, 3)?,
        sha256: Digest(row.get(4)?),
        media_type: row.get_ref(5)?.as_str()?.into(),
        media: MediaInfo {
            width: number(row, 6)?,
            height: number(row, 7)?,
            duration_ms: number(row, 8)?,
            frames: number(row, 9)?,
            codec: row.get_ref(10)?.as_str()?.into(),
        },
    })
}

/// Four columns from `first` on: number, kind, time and snapshot.
pub(crate) fn event_from(row: &Row<'_>, first: usize, job: JobId) -> Result<JobEvent, Error> {
    Ok(JobEvent {
        job,
        ver: number(row, first)?,
        kind: EventKind::from_number(row.get(first + 1)?).ok_or_else(|| corrupt("an event of an unknown kind"))?,
        at: time(row, first + 2)?,
        snapshot: snapshot_from(row.get_ref(first + 3)?.as_str()?)?,
    })
}

/// What a call was, from its stored word.
pub(crate) fn call_from(word: &str) -> &'static str {
    ["submit", "find", "poll", "fetch", "cancel", "callback"]
        .into_iter()
        .find(|known| *known == word)
        .unwrap_or("other")
}

/// The columns of `exchanges.sql`.
pub(crate) fn exchange_from(row: &Row<'_>) -> Result<(AttemptNo, Exchange), Error> {
    let exchange = Exchange {
        call: call_from(row.get_ref(1)?.as_str()?),
        at: time(row, 2)?,
        request: row.get_ref(3)?.as_str()?.into(),
        status: number_or_none(row, 4)?,
        duration_ms: number(row, 5)?,
        answer: row.get_ref(6)?.as_str()?.into(),
    };
    Ok((AttemptNo(number(row, 0)?), exchange))
}

/// The columns of `keys.sql` and `key_find.sql`.
pub(crate) fn key_from(row: &Row<'_>) -> Result<ApiKey, Error> {
    Ok(ApiKey {
        id: row.get(0)?,
        name: row.get(1)?,
        project: ProjectId(row.get(2)?),
        hash: row.get(3)?,
        scopes: serde_json::from_str(row.get_ref(4)?.as_str()?).map_err(corrupt)?,
        created_at: time(row, 5)?,
        revoked_at: time_or_none(row, 6)?,
    })
}

/// `KEY.thumbnail.webp` belongs to KEY, whose own last segment has no dot.
pub(crate) fn origin(key: &str) -> &str {
    let name = key.rfind('/').map_or(0, |slash| slash + 1);
    let end = key[name..].find('.').map_or(key.len(), |dot| name + dot);
    &key[..end]
}

/// The public statuses are ranges of the states' numbers.
pub(crate) const fn states_of(status: Option<Status>) -> (i16, i16) {
    match status {
        None => (0, 99),
        Some(Status::Queued) => (10, 20),
        Some(Status::InProgress) => (25, 40),
        Some(Status::Completed) => (90, 90),
        Some(Status::Failed) => (91, 92),
    }
}
