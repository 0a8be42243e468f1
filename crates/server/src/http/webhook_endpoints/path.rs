//! Ids in paths, and who may change what they name.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use longtake_core::id::{DeliveryId, EndpointId};
use longtake_core::webhook::{Endpoint, EndpointStatus};

use crate::app::App;
use crate::http::auth::{Caller, Writer};
use crate::http::error::{ApiError, ErrorCode};
use crate::http::node::integer_text;
use crate::http::videos::path::Name;

/// The endpoint in the path.
pub struct EndpointInPath(pub EndpointId);

/// The endpoint and its delivery in the path.
pub struct DeliveryInPath(pub EndpointId, pub DeliveryId);

/// A caller who may change endpoints and see their secrets: a writer with a key of its own. A stand-in for a key lies in
/// browsers, and an endpoint made with it would outlive it.
pub struct Manager(pub Caller);

impl FromRequestParts<App> for Manager {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Writer(caller) = Writer::from_request_parts(parts, app).await?;
        if caller.ephemeral {
            let message = "an ephemeral key changes no webhook endpoints; use the API key that it stands for";
            return Err(ApiError::new(ErrorCode::InsufficientScope, message));
        }
        Ok(Self(caller))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for EndpointInPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        text.and_then(|text| endpoint_id(&text)).map(Self).ok_or_else(endpoint_not_found)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DeliveryInPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Ok(Path((endpoint, delivery))) = path else { return Err(delivery_not_found()) };
        let endpoint = endpoint_id(&endpoint).ok_or_else(endpoint_not_found)?;
        Ok(Self(endpoint, delivery_id(&delivery).ok_or_else(delivery_not_found)?))
    }
}

/// `we_` and a number.
pub fn endpoint_id(text: &str) -> Option<EndpointId> {
    text.strip_prefix("we_").and_then(integer_text).map(EndpointId)
}

/// `whd_` and a number.
pub fn delivery_id(text: &str) -> Option<DeliveryId> {
    text.strip_prefix("whd_").and_then(integer_text).map(DeliveryId)
}

/// The endpoint, if the caller's project has it.
///
/// # Errors
/// `webhook_endpoint_not_found`.
pub async fn find(app: &App, caller: &Caller, id: EndpointId) -> Result<Endpoint, ApiError> {
    app.store.endpoint(caller.project, id).await?.ok_or_else(endpoint_not_found)
}

/// The same, if it is told anything: what is ordered for another would only be written off.
///
/// # Errors
/// `webhook_endpoint_not_found`, `webhook_endpoint_disabled`.
pub async fn find_enabled(app: &App, caller: &Caller, id: EndpointId) -> Result<Endpoint, ApiError> {
    let endpoint = find(app, caller, id).await?;
    if endpoint.status == EndpointStatus::Enabled {
        return Ok(endpoint);
    }
    let message =
        r#"the endpoint is told nothing; switch it on with POST /v1/webhook_endpoints/{id} {"status": "enabled"}"#;
    Err(ApiError::new(ErrorCode::WebhookEndpointDisabled, message))
}

/// No such endpoint in the caller's project.
pub fn endpoint_not_found() -> ApiError {
    let message = "there is no webhook endpoint with this id; list yours with GET /v1/webhook_endpoints";
    ApiError::new(ErrorCode::WebhookEndpointNotFound, message)
}

/// No such delivery of the endpoint.
pub fn delivery_not_found() -> ApiError {
    let message = "the endpoint has no delivery with this id; list them with GET /v1/webhook_endpoints/{id}/deliveries";
    ApiError::new(ErrorCode::WebhookDeliveryNotFound, message)
}
