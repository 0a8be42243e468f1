//! What a call changed, as columns: one statement per table, whatever the number of jobs.

use longtake_core::artifact::Artifact;
use longtake_core::attempt::Attempt;
use longtake_core::failure::Failure;
use longtake_core::id::{JobId, ProviderJobId};
use longtake_core::record::Record;
use longtake_core::state::JobState;
use longtake_core::store::WorkKey;
use longtake_core::time::Timestamp;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::picture::{JobRows, Picture, WorkRow};
use super::sql;
use crate::rows::postgres::{kind_of, uuid_of};
use crate::rows::{Result, micros, signed, snapshot_text};

/// Exchanges kept for each job; the oldest go.
const MAX_EXCHANGES_PER_JOB: i64 = 200;

/// A value as it is bound.
pub(super) type Value = Box<dyn ToSql + Sync + Send>;

/// One statement with its values.
pub(super) struct Save {
    /// Of `queries/`.
    pub query: &'static str,
    /// In order.
    pub values: Vec<Value>,
}

/// Every statement that a picture may need: prepared before its transaction begins.
pub(super) const ALL: &[&str] = &[
    sql::ARTIFACT_INSERT,
    sql::EVENT_INSERT,
    sql::JOB_UPDATE,
    sql::ATTEMPT_INSERT,
    sql::ATTEMPT_UPDATE,
    sql::WORK_DELETE,
    sql::WORK_UPDATE,
    sql::WORK_INSERT,
    sql::ORPHAN_INSERT,
    sql::EXCHANGE_INSERT,
    sql::EXCHANGE_TRIM,
    sql::DURATION_INSERT,
];

/// PostgreSQL's text holds every character but NUL, which answers of providers may hold.
pub(super) fn text(words: &str) -> String {
    words.replace('\0', "\u{fffd}")
}

macro_rules! columns {
    ($rows:expr; $($column:expr),* $(,)?) => {
        vec![$(Box::new($rows.iter().map($column).collect::<Vec<_>>()) as Value),*]
    };
}

/// The statements of a picture, in the order of the executable specification.
pub(super) fn saves(picture: &Picture) -> Result<Vec<Save>> {
    let mut saves = Vec::new();
    let mut add = |query, rows: usize, values: Vec<Value>| {
        if rows > 0 {
            saves.push(Save { query, values });
        }
    };
    let artifacts = &picture.artifacts;
    add(sql::ARTIFACT_INSERT, artifacts.len(), artifact_columns(artifacts));
    add(sql::EVENT_INSERT, picture.events.len(), event_columns(picture)?);
    let jobs: Vec<(&Record, &JobRows)> = (picture.jobs.values())
        .filter(|job| {
            let (was, now) = (&job.was, &job.now);
            (&was.record, was.hidden_at, was.fence_floor) != (&now.record, now.hidden_at, now.fence_floor)
        })
        .map(|job| (&job.now.record, &job.now))
        .collect();
    add(sql::JOB_UPDATE, jobs.len(), job_columns(&jobs));
    let (new, known) = attempts(picture);
    add(sql::ATTEMPT_INSERT, new.len(), intent_columns(&new));
    add(sql::ATTEMPT_UPDATE, known.len(), attempt_columns(&known));
    let work = Work::of(picture);
    add(sql::WORK_DELETE, work.deleted.len(), key_columns(&work.deleted));
    add(sql::WORK_UPDATE, work.changed.len(), changed_columns(&work.changed));
    add(sql::WORK_INSERT, work.added.len(), added_columns(&work.added));
    let orphans = columns![picture.orphans;
        |orphan| orphan.account.0,
        |orphan| orphan.provider_job.as_str().to_owned(),
        |orphan| uuid_of(orphan.job),
        |orphan| i32::from(orphan.n.0),
        |_| picture.now.as_micros(),
    ];
    add(sql::ORPHAN_INSERT, picture.orphans.len(), orphans);
    let exchanges = &picture.exchanges;
    add(sql::EXCHANGE_INSERT, exchanges.len(), exchange_columns(picture));
    let mut talked: Vec<Uuid> = exchanges.iter().map(|(job, ..)| uuid_of(*job)).collect();
    talked.sort_unstable();
    talked.dedup();
    add(sql::EXCHANGE_TRIM, talked.len(), vec![Box::new(talked), Box::new(MAX_EXCHANGES_PER_JOB)]);
    let completed: Vec<&Record> = picture.completed().collect();
    let durations = columns![completed;
        |record| text(&record.model),
        |record| record.finished_at.unwrap_or(picture.now).as_micros(),
        |record| uuid_of(record.job),
        |record| micros(record.finished_at.unwrap_or(picture.now).since(record.created_at)),
    ];
    add(sql::DURATION_INSERT, completed.len(), durations);
    Ok(saves)
}

fn artifact_columns(artifacts: &[(JobId, Artifact)]) -> Vec<Value> {
    columns![artifacts;
        |(job, _)| uuid_of(*job),
        |(_, artifact)| i32::from(artifact.attempt.0),
        |(_, artifact)| i32::from(artifact.n),
        |(_, artifact)| artifact.key.as_str().to_owned(),
        |(_, artifact)| signed(artifact.bytes),
        |(_, artifact)| artifact.sha256.0.to_vec(),
        |(_, artifact)| text(&artifact.media_type),
        |(_, artifact)| i64::from(artifact.media.width),
        |(_, artifact)| i64::from(artifact.media.height),
        |(_, artifact)| signed(artifact.media.duration_ms),
        |(_, artifact)| i64::from(artifact.media.frames),
        |(_, artifact)| text(&artifact.media.codec),
    ]
}

fn event_columns(picture: &Picture) -> Result<Vec<Value>> {
    let events = &picture.events;
    let bodies: Vec<String> = events.iter().map(|(_, event)| snapshot_text(&event.snapshot)).collect::<Result<_>>()?;
    let mut values = columns![events;
        |(_, event)| uuid_of(event.job),
        |(_, event)| number(event.ver),
        |(project, _)| project.0,
        |(_, event)| event.kind.number(),
        |(_, event)| event.at.as_micros(),
    ];
    values.push(Box::new(bodies));
    Ok(values)
}

fn job_columns(jobs: &[(&Record, &JobRows)]) -> Vec<Value> {
    columns![jobs;
        |(record, _)| uuid_of(record.job),
        |(record, _)| record.state.name().number(),
        |(record, _)| number(record.ver),
        |(record, _)| failure_of(record).map(|failure| failure.code.code()),
        |(record, _)| failure_of(record).map(|failure| text(&failure.message)),
        |(record, _)| record.finished_at.map(Timestamp::as_micros),
        |(record, _)| record.deadline_at.map(Timestamp::as_micros),
        |(record, _)| record.cancel.map(|cancel| cancel.requested_at.as_micros()),
        |(record, _)| record.cancel.map(|cancel| cancel.outcome as i16),
        |(record, _)| record.progress.map(i16::from),
        |(record, _)| i32::from(record.first_attempt.0),
        |(record, _)| i32::from(record.attempts_used),
        |(record, _)| record.unavailable_since.map(Timestamp::as_micros),
        |(_, rows)| rows.hidden_at.map(Timestamp::as_micros),
        |(_, rows)| rows.fence_floor.0,
    ]
}

fn failure_of(record: &Record) -> Option<&Failure> {
    match &record.state {
        JobState::Failed { failure } => Some(failure),
        _ => None,
    }
}

type Attempts<'a> = Vec<(JobId, &'a Attempt)>;

/// New ones, and known ones of which more is known now.
fn attempts(picture: &Picture) -> (Attempts<'_>, Attempts<'_>) {
    let (mut new, mut known) = (Vec::new(), Vec::new());
    for (job, changing) in &picture.jobs {
        for (n, attempt) in &changing.now.attempts {
            match changing.was.attempts.get(n) {
                None => new.push((*job, attempt)),
                Some(was) if was != attempt => known.push((*job, attempt)),
                Some(_) => {}
            }
        }
    }
    (new, known)
}

fn intent_columns(attempts: &[(JobId, &Attempt)]) -> Vec<Value> {
    columns![attempts;
        |(job, _)| uuid_of(*job),
        |(_, attempt)| i32::from(attempt.n.0),
        |(_, attempt)| attempt.state.number(),
        |(_, attempt)| attempt.executor.0,
        |(_, attempt)| attempt.nonce.0,
        |(_, attempt)| attempt.account.0,
        |(_, attempt)| text(&attempt.model),
        |(_, attempt)| attempt.client_ref.as_str().to_owned(),
        |(_, attempt)| attempt.intent_at.as_micros(),
        |(_, attempt)| attempt.send_deadline_at.as_micros(),
    ]
}

fn attempt_columns(attempts: &[(JobId, &Attempt)]) -> Vec<Value> {
    columns![attempts;
        |(job, _)| uuid_of(*job),
        |(_, attempt)| i32::from(attempt.n.0),
        |(_, attempt)| attempt.state.number(),
        |(_, attempt)| attempt.provider_job.as_ref().map(|name| ProviderJobId::as_str(name).to_owned()),
        |(_, attempt)| attempt.resolved_at.map(Timestamp::as_micros),
        |(_, attempt)| attempt.rejection.as_ref().map(|rejection| rejection.failure.code.code()),
        |(_, attempt)| attempt.rejection.as_ref().map(|rejection| text(&rejection.failure.message)),
        |(_, attempt)| attempt.rejection.as_ref().map(|rejection| rejection.retry as i16),
        |(_, attempt)| attempt.rejection.as_ref().and_then(|rejection| rejection.retry_after).map(micros),
        |(_, attempt)| attempt.decision.as_ref().map(|decision| decision.verdict as i16),
        |(_, attempt)| attempt.decision.as_ref().map(|decision| text(&decision.by)),
        |(_, attempt)| attempt.request_ended_at.map(Timestamp::as_micros),
    ]
}

/// Work rows that went, changed and came.
#[derive(Default)]
struct Work<'a> {
    deleted: Vec<WorkKey>,
    changed: Vec<(WorkKey, &'a WorkRow)>,
    added: Vec<(WorkKey, &'a WorkRow, &'a JobRows)>,
}

impl<'a> Work<'a> {
    fn of(picture: &'a Picture) -> Self {
        let mut work = Self::default();
        for changing in picture.jobs.values() {
            let (was, now) = (&changing.was.work, &changing.now.work);
            work.deleted.extend(was.keys().filter(|key| !now.contains_key(*key)));
            for (key, row) in now {
                match was.get(key) {
                    None => work.added.push((*key, row, &changing.now)),
                    Some(known) if known != row => work.changed.push((*key, row)),
                    Some(_) => {}
                }
            }
        }
        work
    }
}

fn key_columns(keys: &[WorkKey]) -> Vec<Value> {
    columns![keys; |key| uuid_of(key.job), |key| kind_of(key.kind), |key| key.reference]
}

fn changed_columns(rows: &[(WorkKey, &WorkRow)]) -> Vec<Value> {
    columns![rows;
        |(key, _)| uuid_of(key.job),
        |(key, _)| kind_of(key.kind),
        |(key, _)| key.reference,
        |(_, row)| row.owner.map(|owner| owner.0),
        |(_, row)| row.due_at.as_micros(),
        |(_, row)| row.place.unwrap_or_default().pool.0,
        |(_, row)| row.place.unwrap_or_default().queued,
    ]
}

fn added_columns(rows: &[(WorkKey, &WorkRow, &JobRows)]) -> Vec<Value> {
    let watched = |key: &WorkKey, rows: &JobRows| {
        let n = u16::try_from(key.reference).ok().map(longtake_core::id::AttemptNo);
        n.and_then(|n| rows.attempts.get(&n)).map(|attempt| (attempt.account.0, text(&attempt.model)))
    };
    columns![rows;
        |(key, ..)| uuid_of(key.job),
        |(key, ..)| kind_of(key.kind),
        |(key, ..)| key.reference,
        |(_, row, _)| row.due_at.as_micros(),
        |(_, row, _)| row.fence.0,
        |(_, row, _)| row.place.map(|place| place.pool.0),
        |(key, _, rows)| watched(key, rows).map(|(account, _)| account),
        |(key, _, rows)| watched(key, rows).map(|(_, model)| model),
        |(_, row, _)| row.place.is_some_and(|place| place.queued),
        |(.., rows)| rows.record.priority,
        |(.., rows)| rows.record.project.0,
    ]
}

fn exchange_columns(picture: &Picture) -> Vec<Value> {
    columns![picture.exchanges;
        |(job, ..)| uuid_of(*job),
        |(_, n, _)| i32::from(n.0),
        |(.., exchange)| exchange.call,
        |(.., exchange)| exchange.at.as_micros(),
        |(.., exchange)| text(&exchange.request),
        |(.., exchange)| exchange.status.map(i32::from),
        |(.., exchange)| i64::from(exchange.duration_ms),
        |(.., exchange)| text(&exchange.answer),
    ]
}

/// Numbers of events fit 31 bits: nothing happens two thousand million times to one job.
pub(super) fn number(ver: u32) -> i32 {
    i32::try_from(ver).unwrap_or(i32::MAX)
}
