//! `POST /v1/webhook_endpoints/{id}/replay`: what happened since an event, once more.

use axum::Json;
use axum::extract::{Request, State};
use longtake_core::id::JobId;
use serde::Serialize;
use utoipa::ToSchema;

use super::path::{EndpointInPath, Manager, endpoint_not_found, find_enabled};
use crate::app::App;
use crate::http::api_keys::json_members;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::http::node::integer_text;

/// Events looked at in one transaction.
const PAGE: usize = 500;
/// Transactions of one request: 10,000 events.
const MAX_PAGES: usize = 20;

/// The members of a replay, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(as = ReplayWebhooks)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded strictly by hand")]
pub struct ReplaySchema {
    /// The last event that you have.
    #[schema(example = "evt_video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b_3")]
    after: String,
}

/// How far a replay came.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookReplay)]
pub struct Replay {
    /// Always `webhook_replay`.
    #[schema(value_type = String, example = "webhook_replay")]
    pub object: &'static str,
    /// Deliveries that are due now.
    pub deliveries: usize,
    /// There may be more behind this event: send it as `after`. Null where that was all.
    pub more_after: Option<String>,
}

/// Sends what happened behind an event again, whatever became of it before, in the order of `GET /v1/events`. One call
/// looks at 10,000 events; where there are more it says from where to go on.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints/{id}/replay", operation_id = "replay_webhooks", tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint.")),
    request_body = ReplaySchema,
    responses(
        (status = 200, body = Replay), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "The endpoint is not enabled."), (status = 415, body = ErrorBody),
    )
)]
pub async fn replay(
    State(app): State<App>,
    Manager(caller): Manager,
    EndpointInPath(id): EndpointInPath,
    request: Request,
) -> Result<Json<Replay>, ApiError> {
    let mut members = json_members(&app, request).await?;
    let after = members.text("after")?.ok_or_else(|| {
        ApiError::about("after", ErrorCode::MissingParameter, "give the `id` of the last event that you have")
    })?;
    members.done("")?;
    let mut after = event_id(&after).ok_or_else(unknown_event)?;
    find_enabled(&app, &caller, id).await?;
    let mut deliveries = 0;
    for page in 0..MAX_PAGES {
        // The endpoint was there a moment ago: what is missing is the event. Later on it is the endpoint, since the event
        // was just read.
        let missing = || if page == 0 { unknown_event() } else { endpoint_not_found() };
        let replayed = app.store.replay(caller.project, id, after, PAGE).await?.ok_or_else(missing)?;
        deliveries += replayed.deliveries;
        match replayed.more_after {
            Some(event) => after = event,
            None => return Ok(done(&app, deliveries, None)),
        }
    }
    Ok(done(&app, deliveries, Some(after)))
}

fn done(app: &App, deliveries: usize, more_after: Option<(JobId, u32)>) -> Json<Replay> {
    app.engine.deliver_now();
    let more_after = more_after.map(|(job, ver)| format!("evt_{job}_{ver}"));
    Json(Replay { object: "webhook_replay", deliveries, more_after })
}

/// `evt_`, the video and the sequence number.
fn event_id(text: &str) -> Option<(JobId, u32)> {
    let (job, ver) = text.strip_prefix("evt_")?.rsplit_once('_')?;
    let ver = u32::try_from(integer_text(ver)?).ok()?;
    Some((job.parse().ok()?, ver))
}

fn unknown_event() -> ApiError {
    let message = "there is no event with this id, or it is no longer kept; take the `id` of an event that you have";
    ApiError::about("after", ErrorCode::InvalidAfter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_reads_back() {
        let job = JobId::from_bytes([7; 16]);
        assert_eq!(event_id(&format!("evt_{job}_3")), Some((job, 3)));
        for wrong in ["", "evt_", "evt_3", "evt_video_7_3"] {
            assert_eq!(event_id(wrong), None, "{wrong}");
        }
        for tail in ["", "_", "_-1", "_03", "_4294967296", "_3x"] {
            assert_eq!(event_id(&format!("evt_{job}{tail}")), None, "{tail}");
        }
        assert_eq!(event_id(&format!("{job}_3")), None);
    }
}
