//! `/v1/videos/{id}/deliveries`: what was sent about one video, to endpoints and to its own `webhook_url`.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use http::request::Parts;
use longtake_core::id::{DeliveryId, JobId};
use longtake_core::webhook::{Delivery, EndpointStatus, JobDeliveries};

use super::path::VideoId;
use crate::app::App;
use crate::http::auth::{Caller, Reader};
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::http::query::Query;
use crate::http::webhook_endpoints::deliveries::{behind, page, the_one};
use crate::http::webhook_endpoints::path::{Manager, delivery_id};
use crate::http::webhook_endpoints::wire::{DeliveryBody, DeliveryList, delivery, delivery_list};

/// The video and its delivery in the path.
pub struct VideoDelivery(JobId, DeliveryId);

impl<S: Send + Sync> FromRequestParts<S> for VideoDelivery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Ok(Path((video, delivery))) = path else { return Err(delivery_not_found()) };
        let video = video.parse().map_err(|_| ApiError::video_not_found())?;
        Ok(Self(video, delivery_id(&delivery).ok_or_else(delivery_not_found)?))
    }
}

/// Lists what was sent about a video and what is to be sent, newest first, with the newest tries of each: to every endpoint,
/// deleted ones among them, and to its `webhook_url`.
#[utoipa::path(
    get, path = "/v1/videos/{id}/deliveries", operation_id = "list_video_deliveries", tag = "webhooks",
    params(
        ("id" = String, Path, description = "The video."),
        ("after" = Option<String>, Query, description = "Begin behind this delivery."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 if absent.", minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, body = DeliveryList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
    )
)]
pub async fn list(
    State(app): State<App>,
    Reader(caller): Reader,
    VideoId(id): VideoId,
    query: Query,
) -> Result<Json<DeliveryList>, ApiError> {
    let (after, limit) = page(query)?;
    let JobDeliveries { page, own } = found(&app, &caller, id, after, limit).await?;
    Ok(Json(delivery_list(&page, own)))
}

/// Sends one delivery again, now and for as long as a new one, whatever became of it before.
#[utoipa::path(
    post, path = "/v1/videos/{id}/deliveries/{delivery}/redeliver", operation_id = "redeliver_video_webhook",
    tag = "webhooks",
    params(
        ("id" = String, Path, description = "The video."),
        ("delivery" = String, Path, description = "The delivery."),
    ),
    responses(
        (status = 200, body = DeliveryBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "Its endpoint is not enabled, or was deleted."),
    )
)]
pub async fn redeliver(
    State(app): State<App>,
    Manager(caller): Manager,
    VideoDelivery(id, row): VideoDelivery,
) -> Result<Json<DeliveryBody>, ApiError> {
    let JobDeliveries { page, own } = found(&app, &caller, id, behind(row), 1).await?;
    let (known, _) = the_one(&page, row).ok_or_else(delivery_not_found)?;
    if own != Some(known.endpoint) {
        check_enabled(&app, &caller, known).await?;
    }
    app.store.redeliver_of_job(caller.project, id, row).await?.ok_or_else(delivery_not_found)?;
    app.engine.deliver_now();
    let JobDeliveries { page, own } = found(&app, &caller, id, behind(row), 1).await?;
    let (shown, tries) = the_one(&page, row).ok_or_else(delivery_not_found)?;
    Ok(Json(delivery(shown, tries, own)))
}

async fn found(
    app: &App,
    caller: &Caller,
    id: JobId,
    after: Option<DeliveryId>,
    limit: usize,
) -> Result<JobDeliveries, ApiError> {
    app.store.job_deliveries(caller.project, id, after, limit).await?.ok_or_else(ApiError::video_not_found)
}

/// What is ordered for an endpoint that is told nothing would only be written off.
async fn check_enabled(app: &App, caller: &Caller, delivery: &Delivery) -> Result<(), ApiError> {
    let endpoint = app.store.endpoint(caller.project, delivery.endpoint).await?;
    let message = match endpoint.map(|endpoint| endpoint.status) {
        Some(EndpointStatus::Enabled) => return Ok(()),
        Some(_) => {
            r#"its endpoint is told nothing; switch it on with POST /v1/webhook_endpoints/{id} {"status": "enabled"}"#
        }
        None => "its endpoint was deleted; make another and replay to that",
    };
    Err(ApiError::new(ErrorCode::WebhookEndpointDisabled, message))
}

/// No such delivery of the video.
fn delivery_not_found() -> ApiError {
    let message = "the video has no delivery with this id; list them with GET /v1/videos/{id}/deliveries";
    ApiError::new(ErrorCode::WebhookDeliveryNotFound, message)
}
