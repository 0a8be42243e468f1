//! `POST /v1/webhook_endpoints/{id}/test`: one delivery that tells of nothing, right now.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use longtake_core::webhook::{Answer, Endpoint};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::path::{EndpointInPath, Manager, find};
use crate::app::App;
use crate::http::api_keys::optional_members;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::webhooks::client::Message;
use crate::webhooks::signature::secrets;

/// The type of what is sent: no event of a video, so that no receiver takes it for one.
const TYPE: &str = "webhook.test";

/// What is to be sent, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(as = TestWebhook)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded strictly by hand")]
pub struct TestSchema {
    /// `webhook.test`, if given: samples of other types could be taken for the real thing.
    event_type: Option<String>,
}

/// What came of a test.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookTest)]
pub struct Tested {
    /// Always `webhook_endpoint.test`.
    #[schema(value_type = String, example = "webhook_endpoint.test")]
    pub object: &'static str,
    /// Where it was sent.
    pub webhook_endpoint_id: String,
    /// Always `webhook.test`.
    #[schema(value_type = String, example = "webhook.test")]
    pub event_type: &'static str,
    /// The endpoint took it: it answered 2xx.
    pub delivered: bool,
    /// HTTP status; null where there was no answer.
    pub status: Option<u16>,
    /// The same, as the official SDKs call it.
    pub status_code: Option<u16>,
    /// How long it took.
    pub duration_ms: u32,
    /// The first bytes of the answer, or what went wrong.
    pub answer: String,
}

/// Sends one signed event of type `webhook.test` to an endpoint, whether it is enabled or not, and tells what came of it.
/// It is tried once, stands in no log and changes nothing.
#[utoipa::path(
    post, path = "/v1/webhook_endpoints/{id}/test", operation_id = "test_webhook_endpoint", tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint.")),
    request_body(content = Option<TestSchema>),
    responses(
        (status = 200, body = Tested, description = "It was sent; `delivered` says whether it was taken."),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 415, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub async fn test(
    State(app): State<App>,
    Manager(caller): Manager,
    EndpointInPath(id): EndpointInPath,
    request: Request,
) -> Result<Json<Tested>, ApiError> {
    let mut members = optional_members(&app, request).await?;
    let asked = members.text("event_type")?;
    members.done("")?;
    if asked.is_some_and(|asked| asked != TYPE) {
        let message = "must be webhook.test: samples of other types could be taken for the real thing; or leave it out";
        return Err(ApiError::about("event_type", ErrorCode::InvalidValue, message));
    }
    let endpoint = find(&app, &caller, id).await?;
    let _turn = Arc::clone(&app.memory.webhook_tests).try_acquire_owned().map_err(|_| {
        ApiError::new(ErrorCode::Overloaded, "too many webhooks are being tested; ask again in a moment")
    })?;
    let url = endpoint.url.as_deref().unwrap_or_default();
    let sent = app.webhooks.post(&*app.clock, url, message(&app, &endpoint)).await;
    Ok(Json(Tested {
        object: "webhook_endpoint.test",
        webhook_endpoint_id: format!("we_{id}"),
        event_type: TYPE,
        delivered: sent.answer == Answer::Taken,
        status: sent.status,
        status_code: sent.status,
        duration_ms: sent.duration_ms,
        answer: sent.words.into(),
    }))
}

fn message(app: &App, endpoint: &Endpoint) -> Message {
    let now = app.clock.now();
    let id = format!("evt_test_{:016x}", app.random.u64());
    let body = json!({
        "object": "event",
        "id": id,
        "type": TYPE,
        "created_at": now.as_secs(),
        "data": {"id": format!("we_{}", endpoint.id), "object": "webhook_endpoint"},
    });
    let secrets = secrets(&app.engine.parts().secret_key, endpoint, now);
    Message { id, body: body.to_string().into_bytes(), secrets, headers: BTreeMap::new() }
}
