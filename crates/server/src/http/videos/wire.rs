//! A job as the OpenAI Videos shape shows it, with our members beside.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use longtake_core::attempt::{Attempt, AttemptState};
use longtake_core::event::{JobEvent, Snapshot};
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, AttemptNo, JobId, ProjectId};
use longtake_core::provider::ChargedOn;
use longtake_core::record::{Cancel, ProgressSource};
use longtake_core::request::{Source, SourceKind, VideoRequest};
use longtake_core::state::StateName;
use longtake_core::store::Job;
use longtake_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::http::error::ApiError;

/// One video.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Video {
    /// `video_` and 32 hex digits.
    #[schema(example = "video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b")]
    pub id: String,
    /// Always `video`.
    #[schema(value_type = String, example = "video")]
    pub object: &'static str,
    /// The public model name.
    pub model: String,
    /// `queued`, `in_progress`, `completed` or `failed`.
    #[schema(value_type = String, example = "in_progress")]
    pub status: &'static str,
    /// The precise state: `queued`, `submitting`, `verifying`, `held`, `running`, `storing`, `completed`, `failed` or `canceled`.
    #[schema(value_type = String, example = "running")]
    pub state: &'static str,
    /// 0 to 100; 0 where nothing is known.
    #[schema(minimum = 0, maximum = 100)]
    pub progress: u8,
    /// `provider`, `estimate` (learnt from history), or null where nothing is known.
    #[schema(value_type = Option<String>)]
    pub progress_source: Option<&'static str>,
    /// Seconds to completion, learnt from history; null where nothing is known.
    pub eta_seconds: Option<u64>,
    /// Unix seconds.
    pub created_at: i64,
    /// When it finished, in Unix seconds.
    pub completed_at: Option<i64>,
    /// Until when the stored bytes are kept, in Unix seconds; null where they are kept for ever, and where there are none.
    pub expires_at: Option<i64>,
    /// What the video shall show.
    pub prompt: String,
    /// The video that it is a remix of.
    pub remixed_from_video_id: Option<String>,
    /// Length asked for, in seconds, as a string.
    pub seconds: String,
    /// Size asked for.
    pub size: String,
    /// Why it failed.
    pub error: Option<VideoError>,
    /// The client's own pairs.
    pub metadata: BTreeMap<String, String>,
    /// The provider of the latest attempt.
    #[schema(value_type = Option<String>)]
    pub provider: Option<&'static str>,
    /// The number of the latest attempt.
    pub attempt: Option<u16>,
    /// What the latest attempt costs, in dollars; null until it costs, and where the price is unknown.
    pub cost_usd: Option<f64>,
    /// SHA-256 of the stored video, in hex.
    pub sha256: Option<String>,
    /// Length of the stored video, in bytes.
    pub bytes: Option<u64>,
    /// A cancel that was asked for.
    pub cancel: Option<CancelInfo>,
}

/// Why a video failed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VideoError {
    /// One of a closed list; docs/errors has a page for each.
    #[schema(value_type = String, example = "content_policy")]
    pub code: &'static str,
    /// What happened and what to do.
    pub message: String,
}

/// A cancel that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CancelInfo {
    /// Unix seconds.
    pub requested_at: i64,
    /// `pending`, `stopped_before_start`, `stopped_upstream`, `not_stoppable` or `too_late`.
    #[schema(value_type = String)]
    pub outcome: &'static str,
}

/// The changing half, from a record or from an event.
struct Moment {
    job: JobId,
    project: ProjectId,
    created_at: Timestamp,
    snapshot: Snapshot,
    cost_usd_micros: Option<u64>,
}

impl Video {
    /// A job as it is, without figures learnt from history.
    pub fn of(app: &App, job: &Job) -> Self {
        let record = &job.record;
        let snapshot = record.snapshot(job.output.as_ref());
        let cost_usd_micros = record.attempt.as_ref().and_then(|attempt| cost_of(app, attempt, &job.request));
        let (job_id, project, created_at) = (record.job, record.project, record.created_at);
        Self::at(app, &job.request, Moment { job: job_id, project, created_at, snapshot, cost_usd_micros })
    }

    /// A job as it was at an event. Facts only: an event shows no estimates.
    pub fn at_event(app: &App, job: &Job, event: &JobEvent) -> Self {
        let cost_usd_micros = event.snapshot.attempt.and_then(|(_, account)| {
            let paid = match event.snapshot.state {
                StateName::Completed => true,
                StateName::Running | StateName::Storing => charges_on_submit(app, account),
                _ => false,
            };
            let model = app.models.get(&job.request.model)?;
            let route = model.routes.iter().find(|route| route.account == account).filter(|_| paid)?;
            Some(app.price(account, &route.model, &job.request)?.usd_micros)
        });
        let (project, created_at, snapshot) = (job.record.project, job.record.created_at, event.snapshot.clone());
        Self::at(app, &job.request, Moment { job: event.job, project, created_at, snapshot, cost_usd_micros })
    }

    fn at(app: &App, request: &VideoRequest, moment: Moment) -> Self {
        let snapshot = moment.snapshot;
        Self {
            id: moment.job.to_string(),
            object: "video",
            model: request.model.to_string(),
            status: snapshot.state.status().word(),
            state: snapshot.state.word(),
            progress: snapshot.progress,
            progress_source: snapshot.progress_source.map(ProgressSource::word),
            eta_seconds: None,
            created_at: moment.created_at.as_secs(),
            completed_at: snapshot.finished_at.map(Timestamp::as_secs),
            expires_at: expires_at(app, moment.project, &snapshot).map(Timestamp::as_secs),
            prompt: request.prompt.to_string(),
            remixed_from_video_id: request.source.as_ref().and_then(remixed_from),
            seconds: request.seconds.to_string(),
            size: request.size.to_string(),
            error: error_of(snapshot.state, snapshot.failure),
            metadata: request.metadata.clone(),
            provider: snapshot.attempt.and_then(|(_, account)| app.provider_name(account)),
            attempt: snapshot.attempt.map(|(AttemptNo(n), _)| n),
            cost_usd: moment.cost_usd_micros.map(dollars),
            sha256: snapshot.output.map(|(_, digest)| digest.to_string()),
            bytes: snapshot.output.map(|(bytes, _)| bytes),
            cancel: snapshot.cancel.map(|Cancel { requested_at, outcome }| CancelInfo {
                requested_at: requested_at.as_secs(),
                outcome: outcome.word(),
            }),
        }
    }

    /// Adds what history tells of an unfinished video: a percentage where the provider gives none, and the time left.
    fn estimate(&mut self, job: &Job, median: Option<Duration>, now: Timestamp) {
        let state = job.record.state.name();
        let Some(median) = median.filter(|median| !state.is_terminal() && !median.is_zero()) else { return };
        let elapsed = now.since(job.record.created_at);
        // Beyond the usual time nothing is known: silence is more honest than "any moment now".
        self.eta_seconds = median.checked_sub(elapsed).map(|left| left.as_secs().saturating_add(1));
        if self.progress_source.is_none() && state == StateName::Running {
            let percent = elapsed.as_millis().saturating_mul(100) / median.as_millis().max(1);
            self.progress = u8::try_from(percent).unwrap_or(u8::MAX).min(MAX_ESTIMATE_PERCENT);
            self.progress_source = Some(ProgressSource::Estimate.word());
        }
    }
}

fn remixed_from(source: &Source) -> Option<String> {
    match source.kind {
        SourceKind::Remix => Some(source.video.to_string()),
    }
}

/// Until when bytes are kept: those of a completed video, or a late result of another finished one.
fn expires_at(app: &App, project: ProjectId, snapshot: &Snapshot) -> Option<Timestamp> {
    let has_bytes = snapshot.state == StateName::Completed || snapshot.output.is_some();
    app.retention().content_until(project, snapshot.finished_at.filter(|_| has_bytes)?)
}

/// An estimate never claims more than this.
const MAX_ESTIMATE_PERCENT: u8 = 95;

fn error_of(state: StateName, failure: Option<Failure>) -> Option<VideoError> {
    match (state, failure) {
        (StateName::Canceled, _) => {
            let message = "the video was canceled; retry it to make it after all".to_owned();
            Some(VideoError { code: FailureCode::Canceled.code(), message })
        }
        (_, Some(failure)) => Some(VideoError { code: failure.code.code(), message: failure.message.into() }),
        (_, None) => None,
    }
}

fn charges_on_submit(app: &App, account: AccountId) -> bool {
    let entry = app.accounts.get(&account);
    entry.is_some_and(|entry| entry.provider.profile(account).charged_on == ChargedOn::Submit)
}

fn cost_of(app: &App, attempt: &Attempt, request: &VideoRequest) -> Option<u64> {
    let costs = match attempt.state {
        AttemptState::Done => true,
        AttemptState::FailedAtProvider if attempt.is_lost_result() => true,
        AttemptState::Accepted | AttemptState::LateAccepted | AttemptState::FailedAtProvider => {
            charges_on_submit(app, attempt.account)
        }
        AttemptState::Intent | AttemptState::NotAccepted | AttemptState::Unknown | AttemptState::Waived => false,
    };
    app.price(attempt.account, &attempt.model, request).filter(|_| costs).map(|price| price.usd_micros)
}

/// Millionths of a dollar as dollars.
pub fn dollars(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}

/// A job as it is, with figures learnt from history.
///
/// # Errors
/// As the store.
pub async fn show(app: &App, job: &Job) -> Result<Video, ApiError> {
    let mut video = Video::of(app, job);
    if !job.record.state.is_terminal() {
        let median = app.memory.estimates.median(app, &job.request.model).await?;
        video.estimate(job, median, app.clock.now());
    }
    Ok(video)
}

/// The answer that shows a job: the video and, for gentle polling, `openai-poll-after-ms`.
///
/// # Errors
/// As the store.
pub async fn respond(app: &App, job: &Job) -> Result<Response, ApiError> {
    let mut response = Json(show(app, job).await?).into_response();
    let wait = u64::try_from(poll_after(app, job).as_millis()).unwrap_or(u64::MAX);
    response.headers_mut().insert("openai-poll-after-ms", HeaderValue::from(wait));
    Ok(response)
}

/// Shortest and longest wait that is advised, but for the sandbox.
const POLL_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// The sandbox is quick, and asking it costs nothing.
const POLL_AFTER_SANDBOX: Duration = Duration::from_millis(500);

/// How long a client does well to wait: as long as we wait ourselves before we ask the provider.
fn poll_after(app: &App, job: &Job) -> Duration {
    let route = || app.models.get(&job.request.model).and_then(|model| model.routes.first()).map(|route| route.account);
    let account = job.record.attempt.as_ref().map(|attempt| attempt.account).or_else(route);
    let entry = account.and_then(|account| Some((account, app.accounts.get(&account)?)));
    let Some((account, entry)) = entry else { return POLL_AFTER.1 };
    if entry.provider.name() == "sandbox" {
        return POLL_AFTER_SANDBOX;
    }
    let profile = entry.provider.profile(account);
    let pace = match job.record.state.name() {
        StateName::Held => profile.poll_ceiling,
        StateName::Queued | StateName::Submitting | StateName::Verifying | StateName::Running => profile.poll_first,
        StateName::Storing | StateName::Completed | StateName::Failed | StateName::Canceled => POLL_AFTER.0,
    };
    pace.clamp(POLL_AFTER.0, POLL_AFTER.1)
}
