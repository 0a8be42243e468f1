//! `POST /v1/webhook_endpoints/{id}/rotate_secret`, and the secret of all `webhook_url`s of a project.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use longtake_core::webhook::EndpointChange;
use utoipa::ToSchema;

use super::path::{EndpointInPath, Manager, endpoint_not_found};
use super::wire::{EndpointBody, VideosSecret, endpoint_with_secret};
use crate::app::App;
use crate::http::api_keys::optional_members;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::http::node::{Members, Node, repeated, wrong_type};
use crate::webhooks::signature;

/// How long the old secrets go on signing where nothing is said, in seconds.
const DAY_SECS: i64 = 86_400;
/// The longest they can, in seconds: a week.
const MAX_OVERLAP_SECS: i64 = 604_800;
/// How the official SDKs ask for a day or for nothing.
const KEEP: &str = "keep_old_secret_active_for_24_hours";

/// The members of a rotation, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(as = RotateWebhookSecret)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded strictly by hand")]
pub struct RotateSchema {
    /// How long the secrets before it go on signing beside it; a day if absent.
    #[schema(minimum = 0, maximum = 604_800, default = 86_400)]
    overlap_seconds: Option<u32>,
    /// As the official SDKs say it: true is a day, false none.
    keep_old_secret_active_for_24_hours: Option<bool>,
}

/// Makes another secret. It is shown in this answer only; deliveries are signed with both until the old ones end.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints/{id}/rotate_secret", operation_id = "rotate_webhook_secret", tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint.")),
    request_body(content = Option<RotateSchema>),
    responses(
        (status = 200, body = EndpointBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub async fn rotate(
    State(app): State<App>,
    Manager(caller): Manager,
    EndpointInPath(id): EndpointInPath,
    request: Request,
) -> Result<Json<EndpointBody>, ApiError> {
    let mut members = optional_members(&app, request).await?;
    let overlap = overlap(&mut members)?;
    members.done("")?;
    let mut salt = [0; 16];
    app.random.fill(&mut salt);
    let rotate = Some((salt, overlap));
    let change = EndpointChange { rotate, ..EndpointChange::default() };
    let changed = app.store.change_endpoint(caller.project, id, change).await?.ok_or_else(endpoint_not_found)?;
    Ok(Json(endpoint_with_secret(&app, &changed)))
}

fn overlap(members: &mut Members) -> Result<Duration, ApiError> {
    let seconds = members.take("overlap_seconds").map(|node| node.into_integer("overlap_seconds")).transpose()?;
    let seconds = match (seconds, members.take(KEEP)) {
        (Some(_), Some(_)) => return Err(repeated(KEEP)),
        (Some(seconds), None) => seconds,
        (None, Some(Node::Bool(false))) => 0,
        (None, Some(Node::Bool(true)) | None) => DAY_SECS,
        (None, Some(_)) => return Err(wrong_type(KEEP, "true or false")),
    };
    if !(0..=MAX_OVERLAP_SECS).contains(&seconds) {
        let message = format!("must be 0 to {MAX_OVERLAP_SECS}");
        return Err(ApiError::about("overlap_seconds", ErrorCode::InvalidValue, message));
    }
    Ok(Duration::from_secs(seconds.unsigned_abs()))
}

/// The secret that deliveries to `webhook_url`s of your videos are signed with. It needs the scope write, since it shows a
/// secret.
#[utoipa::path(
    get, path = "/v1/webhook_endpoints/videos", operation_id = "get_video_webhook_secret", tag = "webhooks",
    responses((status = 200, body = VideosSecret), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody))
)]
pub async fn of_videos(State(app): State<App>, Manager(caller): Manager) -> Json<VideosSecret> {
    let secret = signature::video_secret(&app.engine.parts().secret_key, caller.project);
    Json(VideosSecret { id: "videos", object: "webhook_endpoint", secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlap_is_a_day_unless_said_otherwise() {
        let overlap = |body: &str| {
            let mut members = Members::of_body(Node::from_json(body.as_bytes()).unwrap()).unwrap();
            overlap(&mut members).map(|overlap| overlap.as_secs()).map_err(|error| error.code())
        };
        for (body, seconds) in [
            ("{}", 86_400),
            (r#"{"overlap_seconds": 0}"#, 0),
            (r#"{"overlap_seconds": 604800}"#, 604_800),
            (r#"{"keep_old_secret_active_for_24_hours": true}"#, 86_400),
            (r#"{"keep_old_secret_active_for_24_hours": false}"#, 0),
        ] {
            assert_eq!(overlap(body), Ok(seconds), "{body}");
        }
        for (body, code) in [
            (r#"{"overlap_seconds": -1}"#, ErrorCode::InvalidValue),
            (r#"{"overlap_seconds": 604801}"#, ErrorCode::InvalidValue),
            (r#"{"overlap_seconds": "1"}"#, ErrorCode::InvalidType),
            (r#"{"overlap_seconds": 1.5}"#, ErrorCode::InvalidType),
            (r#"{"keep_old_secret_active_for_24_hours": 1}"#, ErrorCode::InvalidType),
            (r#"{"overlap_seconds": 0, "keep_old_secret_active_for_24_hours": false}"#, ErrorCode::RepeatedParameter),
        ] {
            assert_eq!(overlap(body), Err(code), "{body}");
        }
    }
}
