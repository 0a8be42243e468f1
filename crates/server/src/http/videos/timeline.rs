//! `GET /v1/videos/{id}/timeline`: the flight recorder of one video.

use axum::Json;
use axum::extract::State;
use longtake_core::attempt::Attempt;
use longtake_core::id::AttemptNo;
use longtake_core::provider::Exchange;
use longtake_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::path::VideoId;
use super::wire::{self, Video, VideoError};
use crate::app::App;
use crate::http::auth::Reader;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::events::{Event, event_body};

/// Everything that happened to one video. Times are Unix seconds with a fraction.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Timeline)]
pub struct TimelineBody {
    /// Always `video.timeline`.
    #[schema(value_type = String, example = "video.timeline")]
    pub object: &'static str,
    /// The video as it is.
    pub video: Video,
    /// Every attempt.
    pub attempts: Vec<AttemptBody>,
    /// Its events, at most 1,000 of the newest.
    pub events: Vec<Event>,
    /// The exchanges with providers that changed something, at most 1,000 of the newest.
    pub exchanges: Vec<ExchangeBody>,
}

/// One paid submission.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptBody {
    /// From 1.
    pub attempt: u16,
    /// `intent`, `accepted`, `not_accepted`, `unknown`, `failed_at_provider`, `waived`, `late_accepted` or `done`.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// The account's name in the config.
    pub account: Option<String>,
    /// Its provider.
    #[schema(value_type = Option<String>)]
    pub provider: Option<&'static str>,
    /// The provider's name for the model.
    pub provider_model: String,
    /// The provider's name for its job.
    pub provider_job_id: Option<String>,
    /// Our name for the attempt, carried in the submission.
    pub client_ref: String,
    /// When the intent was durable.
    pub intent_at: f64,
    /// When it was accepted, refused or given up.
    pub resolved_at: Option<f64>,
    /// Why it was not accepted.
    pub error: Option<VideoError>,
    /// What was decided while nobody knew: `resubmit`, `fail` or `retried`.
    #[schema(value_type = Option<String>)]
    pub decision: Option<&'static str>,
    /// Who decided: an API key's name, or `policy`.
    pub decided_by: Option<String>,
}

/// One exchange with a provider, redacted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Exchange)]
pub struct ExchangeBody {
    /// For which attempt.
    pub attempt: u16,
    /// `submit`, `find`, `poll`, `fetch`, `cancel`, or `callback` for a call of the provider's.
    #[schema(value_type = String)]
    pub call: &'static str,
    /// When it began.
    pub at: f64,
    /// Method and address, without its query.
    pub request: String,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// From the first byte out to the last byte in.
    pub duration_ms: u32,
    /// What was answered, cut and without secrets; or what went wrong.
    pub answer: String,
}

/// Shows every attempt, every step and the exchanges behind them.
#[utoipa::path(
    get, path = "/v1/videos/{id}/timeline", operation_id = "get_video_timeline", tag = "videos",
    params(("id" = String, Path, description = "The video.")),
    responses(
        (status = 200, body = TimelineBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn timeline(
    State(app): State<App>,
    Reader(caller): Reader,
    VideoId(id): VideoId,
) -> Result<Json<TimelineBody>, ApiError> {
    let timeline = app.store.timeline(caller.project, id).await?.ok_or_else(ApiError::video_not_found)?;
    Ok(Json(TimelineBody {
        object: "video.timeline",
        video: wire::show(&app, &timeline.job).await?,
        attempts: timeline.attempts.iter().map(|attempt| attempt_body(&app, attempt)).collect(),
        events: timeline.events.iter().map(|event| event_body(&app, &timeline.job, event)).collect(),
        exchanges: timeline.exchanges.into_iter().map(|(attempt, exchange)| exchange_body(attempt, exchange)).collect(),
    }))
}

fn attempt_body(app: &App, attempt: &Attempt) -> AttemptBody {
    AttemptBody {
        attempt: attempt.n.0,
        state: attempt.state.word(),
        account: app.accounts.get(&attempt.account).map(|entry| entry.name.clone()),
        provider: app.provider_name(attempt.account),
        provider_model: attempt.model.to_string(),
        provider_job_id: attempt.provider_job.as_ref().map(ToString::to_string),
        client_ref: attempt.client_ref.to_string(),
        intent_at: seconds(attempt.intent_at),
        resolved_at: attempt.resolved_at.map(seconds),
        error: attempt.rejection.as_ref().map(|rejection| VideoError {
            code: rejection.failure.code.code(),
            message: rejection.failure.message.to_string(),
        }),
        decision: attempt.decision.as_ref().map(|decision| decision.verdict.word()),
        decided_by: attempt.decision.as_ref().map(|decision| decision.by.to_string()),
    }
}

fn exchange_body(AttemptNo(attempt): AttemptNo, exchange: Exchange) -> ExchangeBody {
    ExchangeBody {
        attempt,
        call: exchange.call,
        at: seconds(exchange.at),
        request: exchange.request.into(),
        status: exchange.status,
        duration_ms: exchange.duration_ms,
        answer: exchange.answer.into(),
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_micros() as f64 / 1_000_000.0
}
