//! `/v1/webhook_endpoints/{id}/deliveries`: the delivery log, and one delivery once more.

use axum::Json;
use axum::extract::State;
use longtake_core::id::DeliveryId;
use longtake_core::webhook::{Delivery, DeliveryPage, Try};

use super::path::{
    DeliveryInPath, EndpointInPath, Manager, delivery_id, delivery_not_found, endpoint_not_found, find_enabled,
};
use super::wire::{DeliveryBody, DeliveryList, delivery, delivery_list};
use crate::app::App;
use crate::http::auth::Reader;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::http::query::Query;
use crate::http::videos::list::{DEFAULT_LIMIT, limit};

/// Lists what was sent to an endpoint and what is to be sent, newest first, with the newest tries of each.
#[utoipa::path(
    get, path = "/v1/webhook_endpoints/{id}/deliveries", operation_id = "list_webhook_deliveries", tag = "webhooks",
    params(
        ("id" = String, Path, description = "The endpoint."),
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
    EndpointInPath(id): EndpointInPath,
    query: Query,
) -> Result<Json<DeliveryList>, ApiError> {
    let (after, limit) = page(query)?;
    let page = app.store.deliveries(caller.project, id, after, limit).await?.ok_or_else(endpoint_not_found)?;
    Ok(Json(delivery_list(&page, None)))
}

/// Sends one delivery again, now and for as long as a new one, whatever became of it before.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints/{id}/deliveries/{delivery}/redeliver", operation_id = "redeliver_webhook",
    tag = "webhooks",
    params(
        ("id" = String, Path, description = "The endpoint."),
        ("delivery" = String, Path, description = "The delivery."),
    ),
    responses(
        (status = 200, body = DeliveryBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "The endpoint is not enabled."),
    )
)]
pub async fn redeliver(
    State(app): State<App>,
    Manager(caller): Manager,
    DeliveryInPath(id, row): DeliveryInPath,
) -> Result<Json<DeliveryBody>, ApiError> {
    find_enabled(&app, &caller, id).await?;
    app.store.redeliver(caller.project, id, row).await?.ok_or_else(delivery_not_found)?;
    app.engine.deliver_now();
    let page = app.store.deliveries(caller.project, id, behind(row), 1).await?.ok_or_else(endpoint_not_found)?;
    let (found, tries) = the_one(&page, row).ok_or_else(delivery_not_found)?;
    Ok(Json(delivery(found, tries, None)))
}

/// What a page of deliveries begins behind, and how many it holds at most.
///
/// # Errors
/// `invalid_after`, and what is wrong with the other parameters.
pub fn page(mut query: Query) -> Result<(Option<DeliveryId>, usize), ApiError> {
    let after = query.take("after").map(|text| delivery_id(&text).ok_or_else(unknown_after)).transpose()?;
    let limit = query.take("limit").map_or(Ok(DEFAULT_LIMIT), |text| limit(&text))?;
    query.done("after and limit")?;
    Ok((after, limit))
}

/// Where a page begins whose first row is this delivery, if it is there: behind the one that would follow it.
pub const fn behind(row: DeliveryId) -> Option<DeliveryId> {
    Some(DeliveryId(row.0.saturating_add(1)))
}

/// This delivery with its log, where such a page holds it.
pub fn the_one(page: &DeliveryPage, row: DeliveryId) -> Option<(&Delivery, &[Try])> {
    page.deliveries.first().filter(|(found, _)| found.id == row).map(|(found, tries)| (found, tries.as_slice()))
}

fn unknown_after() -> ApiError {
    let message = "is no delivery; take `last_id` of the page before";
    ApiError::about("after", ErrorCode::InvalidAfter, message)
}
