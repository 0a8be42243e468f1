//! Remix, edit and extend: a remix where the provider of the video can, and an honest no to the others.

use axum::extract::{Request, State};
use axum::response::Response;
use longtake_core::request::SourceKind;
use utoipa::ToSchema;

use super::create::{Again, answer, decode, make};
use super::fields::CreateFields;
use super::get::find;
use super::path::VideoId;
use super::wire::Video;
use crate::app::App;
use crate::http::auth::Writer;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::http::schemas::DollarAmountSchema;

/// The members of a remix, for the OpenAPI document; `fields` decodes them.
#[derive(ToSchema)]
#[schema(as = RemixVideo)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded strictly by hand")]
pub struct RemixVideoSchema {
    /// What the new video shall show.
    #[schema(max_length = 32_000, min_length = 1)]
    prompt: String,
    /// Up to 16 pairs of strings; those of the old video are not taken over.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    metadata: Option<serde_json::Value>,
    /// Who else shall be told of its events, as in a create.
    webhook_url: Option<String>,
    /// The video fails as `deadline_exceeded` after this many seconds.
    #[schema(minimum = 1)]
    deadline_seconds: Option<u64>,
    /// Higher goes first: -100 to 100.
    #[schema(minimum = -100, maximum = 100)]
    priority: Option<i16>,
    /// All attempts together may cost at most this many dollars.
    #[schema(value_type = Option<DollarAmountSchema>)]
    max_cost_usd: Option<serde_json::Value>,
}

/// Makes a new video of a completed one and another prompt, with the old one's model, length and size.
#[utoipa::path(
    post, path = "/v1/videos/{id}/remix", operation_id = "remix_video", tag = "videos",
    params(
        ("id" = String, Path, description = "The completed video."),
        ("Idempotency-Key" = Option<String>, Header, description = "Same key and same fields: the same video."),
    ),
    request_body(content(
        (RemixVideoSchema = "application/json"),
        (RemixVideoSchema = "multipart/form-data"),
    )),
    responses(
        (status = 200, body = Video),
        (status = 400, body = ErrorBody, description = "Invalid, or its model makes no remixes; nothing was paid."),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "Not completed, or the idempotency key was used otherwise."),
        (status = 410, body = ErrorBody, description = "Its bytes are no longer kept, and the model needs them."),
        (status = 507, body = ErrorBody),
    )
)]
pub async fn remix(
    State(app): State<App>,
    Writer(caller): Writer,
    VideoId(id): VideoId,
    request: Request,
) -> Result<Response, ApiError> {
    // Another's video, and none, are not found whatever the body says.
    find(&app, &caller, id).await?;
    let again = Again::of(request.headers())?;
    let (mut fields, _held) = decode(&app, request).await?;
    refuse_settings(&fields)?;
    fields.source = Some((id, SourceKind::Remix));
    answer(&app, &make(&app, &caller, &fields, again).await?).await
}

/// What a remix takes from its source.
fn refuse_settings(fields: &CreateFields) -> Result<(), ApiError> {
    let given = [
        ("model", fields.model.is_some()),
        ("seconds", fields.seconds.is_some()),
        ("size", fields.size.is_some()),
        ("input_reference", fields.input.is_some()),
        ("provider_options", fields.provider_options.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => {
            let message = "a remix takes it from its source; remove it, or create a new video";
            Err(ApiError::about(name, ErrorCode::UnsupportedParameter, message))
        }
    }
}

/// Edits a video: refused, since no model of this server can.
#[utoipa::path(
    post, path = "/v1/videos/edits", operation_id = "edit_video", tag = "videos",
    responses((status = 400, body = ErrorBody), (status = 401, body = ErrorBody))
)]
pub async fn edits(_caller: Writer) -> ApiError {
    unsupported("no model of this server edits videos; remix one (POST /v1/videos/{id}/remix) or create a new one")
}

/// Extends a video: refused, since no model of this server can.
#[utoipa::path(
    post, path = "/v1/videos/extensions", operation_id = "extend_video", tag = "videos",
    responses((status = 400, body = ErrorBody), (status = 401, body = ErrorBody))
)]
pub async fn extensions(_caller: Writer) -> ApiError {
    unsupported("no model of this server extends videos; create a longer one instead")
}

fn unsupported(message: &str) -> ApiError {
    ApiError::new(ErrorCode::UnsupportedByModel, message)
}
