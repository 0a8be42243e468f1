//! `POST /v1/webhook_endpoints`: makes an endpoint.

use axum::Json;
use axum::extract::{Request, State};
use http::StatusCode;
use longtake_core::webhook::{Endpoint, EventTypes, NewEndpoint};
use utoipa::ToSchema;

use super::fields::EndpointFields;
use super::path::Manager;
use super::wire::{EndpointBody, endpoint_with_secret};
use crate::app::App;
use crate::http::api_keys::json_members;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};

/// The members of a new endpoint, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(as = CreateWebhookEndpoint)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded strictly by hand")]
pub struct CreateEndpointSchema {
    /// Where to: https, or http where the operator allows it; to 2,048 bytes.
    #[schema(max_length = 2_048, example = "https://example.com/hooks/longtake")]
    url: String,
    /// The types that are sent. Every type, also those of later versions, if absent or `["*"]`.
    events: Option<Vec<String>>,
    /// The same, as the official SDKs call it; one of them may be there.
    event_types: Option<Vec<String>>,
    /// Your words, to 256 characters.
    #[schema(max_length = 256)]
    description: Option<String>,
    /// The same, as the official SDKs call it; one of them may be there.
    #[schema(max_length = 256)]
    name: Option<String>,
}

/// Makes a webhook endpoint. Its secret is shown in this answer and after a rotation only.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints", operation_id = "create_webhook_endpoint", tag = "webhooks",
    request_body = CreateEndpointSchema,
    responses(
        (status = 201, body = EndpointBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "The project has 100 endpoints already."),
        (status = 415, body = ErrorBody),
    )
)]
pub async fn create(
    State(app): State<App>,
    Manager(caller): Manager,
    request: Request,
) -> Result<(StatusCode, Json<EndpointBody>), ApiError> {
    let mut members = json_members(&app, request).await?;
    let fields = EndpointFields::take(&mut members)?;
    members.done("")?;
    fields.check_url(&app)?;
    let url = fields.url.ok_or_else(|| {
        ApiError::about("url", ErrorCode::MissingParameter, "say in `url` where events are to be sent")
    })?;
    let mut salt = [0; 16];
    app.random.fill(&mut salt);
    let new = NewEndpoint {
        project: caller.project,
        url: url.into(),
        types: fields.types.unwrap_or(EventTypes::ALL),
        description: fields.description.unwrap_or_default().into(),
        salt,
    };
    let made = app.store.create_endpoint(new).await?.ok_or_else(|| {
        let most = Endpoint::MAX_PER_PROJECT;
        let message = format!("the project has {most} webhook endpoints, the most there can be; delete one first");
        ApiError::new(ErrorCode::WebhookEndpointLimit, message)
    })?;
    Ok((StatusCode::CREATED, Json(endpoint_with_secret(&app, &made))))
}
