//! `POST /v1/webhook_endpoints/{id}` and `DELETE /v1/webhook_endpoints/{id}`.

use axum::Json;
use axum::extract::{Request, State};
use longtake_core::webhook::EndpointChange;
use utoipa::ToSchema;

use super::fields::EndpointFields;
use super::path::{EndpointInPath, Manager, endpoint_not_found};
use super::wire::{DeletedEndpoint, EndpointBody, endpoint};
use crate::app::App;
use crate::http::api_keys::json_members;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};

/// What changes of an endpoint, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(as = UpdateWebhookEndpoint)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded strictly by hand")]
pub struct UpdateEndpointSchema {
    /// Where to.
    #[schema(max_length = 2_048)]
    url: Option<String>,
    /// The types that are sent; `["*"]` for every type.
    events: Option<Vec<String>>,
    /// The same, as the official SDKs call it; one of them may be there.
    event_types: Option<Vec<String>>,
    /// Your words; an empty string removes them.
    #[schema(max_length = 256)]
    description: Option<String>,
    /// The same, as the official SDKs call it; one of them may be there.
    #[schema(max_length = 256)]
    name: Option<String>,
    /// `enabled` or `disabled`.
    #[schema(example = "disabled")]
    status: Option<String>,
}

/// Changes a webhook endpoint; what is absent stays. Switched on again, it hears of what happens from now on: replay the
/// rest.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints/{id}", operation_id = "update_webhook_endpoint", tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint.")),
    request_body = UpdateEndpointSchema,
    responses(
        (status = 200, body = EndpointBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub async fn update(
    State(app): State<App>,
    Manager(caller): Manager,
    EndpointInPath(id): EndpointInPath,
    request: Request,
) -> Result<Json<EndpointBody>, ApiError> {
    let mut members = json_members(&app, request).await?;
    let fields = EndpointFields::take(&mut members)?;
    let enabled = members.text("status")?.map(|word| is_enabled(&word)).transpose()?;
    members.done("")?;
    fields.check_url(&app)?;
    let change = EndpointChange {
        url: fields.url.map(Into::into),
        types: fields.types,
        description: fields.description.map(Into::into),
        enabled,
        ..EndpointChange::default()
    };
    let changed = app.store.change_endpoint(caller.project, id, change).await?.ok_or_else(endpoint_not_found)?;
    Ok(Json(endpoint(&app, &changed)))
}

/// Removes a webhook endpoint with all that was to be sent to it.
#[utoipa::path(
    delete, path = "/v1/webhook_endpoints/{id}", operation_id = "delete_webhook_endpoint", tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint.")),
    responses(
        (status = 200, body = DeletedEndpoint), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn delete(
    State(app): State<App>,
    Manager(caller): Manager,
    EndpointInPath(id): EndpointInPath,
) -> Result<Json<DeletedEndpoint>, ApiError> {
    let change = EndpointChange { delete: true, ..EndpointChange::default() };
    app.store.change_endpoint(caller.project, id, change).await?.ok_or_else(endpoint_not_found)?;
    Ok(Json(DeletedEndpoint { id: format!("we_{id}"), object: "webhook_endpoint.deleted", deleted: true }))
}

fn is_enabled(word: &str) -> Result<bool, ApiError> {
    match word {
        "enabled" => Ok(true),
        "disabled" => Ok(false),
        _ => Err(ApiError::about("status", ErrorCode::InvalidValue, "must be enabled or disabled")),
    }
}
