//! `GET /v1/webhook_endpoints` and `GET /v1/webhook_endpoints/{id}`: what a project has.

use axum::Json;
use axum::extract::State;
use longtake_core::webhook::Endpoint;

use super::path::{EndpointInPath, endpoint_id, find};
use super::wire::{EndpointBody, EndpointList, endpoint};
use crate::app::App;
use crate::http::auth::Reader;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::http::query::Query;
use crate::http::videos::list::limit;

/// Lists your webhook endpoints, newest first, without their secrets.
#[utoipa::path(
    get, path = "/v1/webhook_endpoints", operation_id = "list_webhook_endpoints", tag = "webhooks",
    params(
        ("after" = Option<String>, Query, description = "Begin behind this endpoint."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 100, which is all, if absent.", minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, body = EndpointList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
    )
)]
pub async fn list(
    State(app): State<App>,
    Reader(caller): Reader,
    mut query: Query,
) -> Result<Json<EndpointList>, ApiError> {
    let after = query.take("after").map(|text| endpoint_id(&text).ok_or_else(unknown_after)).transpose()?;
    let limit = query.take("limit").map_or(Ok(Endpoint::MAX_PER_PROJECT), |text| limit(&text))?;
    query.done("after and limit")?;
    let mut endpoints = app.store.endpoints(caller.project).await?;
    endpoints.reverse();
    let begin = match after {
        None => 0,
        Some(after) => endpoints.iter().position(|one| one.id == after).ok_or_else(unknown_after)? + 1,
    };
    let data: Vec<EndpointBody> = endpoints.iter().skip(begin).take(limit).map(|one| endpoint(&app, one)).collect();
    Ok(Json(EndpointList {
        object: "list",
        first_id: data.first().map(|one| one.id.clone()),
        last_id: data.last().map(|one| one.id.clone()),
        has_more: endpoints.len() > begin + data.len(),
        data,
    }))
}

fn unknown_after() -> ApiError {
    let message = "there is no webhook endpoint with this id; take `last_id` of the page before";
    ApiError::about("after", ErrorCode::InvalidAfter, message)
}

/// One webhook endpoint, without its secret.
#[utoipa::path(
    get, path = "/v1/webhook_endpoints/{id}", operation_id = "get_webhook_endpoint", tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint.")),
    responses(
        (status = 200, body = EndpointBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn get(
    State(app): State<App>,
    Reader(caller): Reader,
    EndpointInPath(id): EndpointInPath,
) -> Result<Json<EndpointBody>, ApiError> {
    let found = find(&app, &caller, id).await?;
    Ok(Json(endpoint(&app, &found)))
}
