//! `/v1/webhook_endpoints/{id}/deliveries`: the delivery log, and one delivery once more.

use axum::Json;
use axum::extract::State;
use longtake_core::id::DeliveryId;

use super::path::{
    DeliveryInPath, EndpointInPath, Manager, delivery_id, delivery_not_found, endpoint_not_found, find_enabled,
};
use super::wire::{DeliveryBody, DeliveryList, delivery};
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
    mut query: Query,
) -> Result<Json<DeliveryList>, ApiError> {
    let after = query.take("after").map(|text| delivery_id(&text).ok_or_else(unknown_after)).transpose()?;
    let limit = query.take("limit").map_or(Ok(DEFAULT_LIMIT), |text| limit(&text))?;
    query.done("after and limit")?;
    let page = app.store.deliveries(caller.project, id, after, limit).await?.ok_or_else(endpoint_not_found)?;
    let data: Vec<DeliveryBody> = page.deliveries.iter().map(|(row, tries)| delivery(row, tries)).collect();
    Ok(Json(DeliveryList {
        object: "list",
        first_id: data.first().map(|row| row.id.clone()),
        last_id: data.last().map(|row| row.id.clone()),
        has_more: page.has_more,
        data,
    }))
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
    // With its log: the newest delivery behind the one that would follow it.
    let behind = Some(DeliveryId(row.0.saturating_add(1)));
    let page = app.store.deliveries(caller.project, id, behind, 1).await?.ok_or_else(endpoint_not_found)?;
    let found = page.deliveries.first().filter(|(found, _)| found.id == row).ok_or_else(delivery_not_found)?;
    Ok(Json(delivery(&found.0, &found.1)))
}

fn unknown_after() -> ApiError {
    let message = "is no delivery; take `last_id` of the page before";
    ApiError::about("after", ErrorCode::InvalidAfter, message)
}
