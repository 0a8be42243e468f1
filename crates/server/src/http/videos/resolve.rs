//! `POST /v1/videos/{id}/resolve`: a person decides about a held video.

use axum::extract::{Request, State};
use axum::response::Response;
use longtake_core::attempt::Verdict;
use longtake_core::id::ProviderJobId;
use longtake_core::store::{CommandResult, Resolution};
use std::sync::Arc;
use utoipa::ToSchema;

use super::cost::allows_another;
use super::get::find;
use super::path::VideoId;
use super::wire::{self, Video};
use crate::app::App;
use crate::http::auth::Writer;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::http::node::Members;

/// The members of a decision, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(as = ResolveVideo)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded strictly by hand")]
pub struct ResolveSchema {
    /// `adopt`: the provider has it under `provider_job_id`. `resubmit`: another attempt, at the risk of paying twice. `fail`: give up.
    #[schema(example = "adopt")]
    decision: String,
    /// The provider's name for its job; with `adopt` only.
    provider_job_id: Option<String>,
}

/// Decides about a video whose submission nobody could find out about.
#[utoipa::path(
    post, path = "/v1/videos/{id}/resolve", operation_id = "resolve_video", tag = "videos",
    params(("id" = String, Path, description = "The video.")),
    request_body = ResolveSchema,
    responses(
        (status = 200, body = Video), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "The video is not held."),
    )
)]
pub async fn resolve(
    State(app): State<App>,
    Writer(caller): Writer,
    VideoId(id): VideoId,
    request: Request,
) -> Result<Response, ApiError> {
    let resolution = decision(crate::http::api_keys::json_members(&app, request).await?)?;
    if resolution == Resolution::Decide(Verdict::Resubmit) {
        allows_another(&app, &find(&app, &caller, id).await?).await?;
    }
    match app.store.resolve_held(caller.project, id, resolution, Arc::clone(&caller.name)).await? {
        CommandResult::Done(job) => {
            app.engine.wake();
            wire::respond(&app, &job).await
        }
        CommandResult::Refused(job) => {
            let state = job.record.state.name().word();
            Err(ApiError::new(
                ErrorCode::VideoNotHeld,
                format!("the video is {state}, not held: there is nothing to decide"),
            ))
        }
        CommandResult::NotFound => Err(ApiError::video_not_found()),
    }
}

fn decision(mut members: Members) -> Result<Resolution, ApiError> {
    let word = members
        .text("decision")?
        .ok_or_else(|| ApiError::about("decision", ErrorCode::MissingParameter, "give adopt, resubmit or fail"))?;
    let provider_job = members.text("provider_job_id")?;
    members.done("")?;
    match (word.as_str(), provider_job) {
        ("adopt", Some(text)) => ProviderJobId::new(&text).map(Resolution::Adopt).ok_or_else(|| {
            let message = "must have 1 to 512 bytes and no control characters";
            ApiError::about("provider_job_id", ErrorCode::InvalidValue, message)
        }),
        ("adopt", None) => {
            let message = "adopt needs the provider's name for its job";
            Err(ApiError::about("provider_job_id", ErrorCode::MissingParameter, message))
        }
        ("resubmit" | "fail", Some(_)) => {
            Err(ApiError::about("provider_job_id", ErrorCode::InvalidValue, "goes with adopt only; remove it"))
        }
        ("resubmit", None) => Ok(Resolution::Decide(Verdict::Resubmit)),
        ("fail", None) => Ok(Resolution::Decide(Verdict::Fail)),
        _ => Err(ApiError::about("decision", ErrorCode::InvalidValue, "must be adopt, resubmit or fail")),
    }
}
