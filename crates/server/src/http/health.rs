//! `/healthz`, `/readyz` and the page at `/`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Html;
use longtake_core::store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ApiError, ErrorBody, ErrorCode};
use crate::app::App;

/// Time the database has to say that it works.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// A word on how the server is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok` or `ready`.
    #[schema(value_type = String, example = "ok")]
    pub status: &'static str,
    /// The server's version.
    #[schema(value_type = String, example = "0.1.0")]
    pub version: &'static str,
}

const fn health(status: &'static str) -> Json<Health> {
    Json(Health { status, version: env!("CARGO_PKG_VERSION") })
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "operation", security(()), responses((status = 200, body = Health)))]
pub async fn healthz() -> Json<Health> {
    health("ok")
}

/// The server can take work.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "operation", security(()),
    responses((status = 200, body = Health), (status = 503, body = ErrorBody))
)]
pub async fn readyz(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    if app.draining.is_cancelled() || app.stopping.is_cancelled() {
        return Err(ApiError::new(ErrorCode::ShuttingDown, "the server is about to stop"));
    }
    let late = app.clock.sleep(READY_TIMEOUT);
    tokio::select! {
        answer = app.store.ready() => match answer {
            Err(StoreError::Full) => return Err(full()),
            answer => answer?,
        },
        () = late => return Err(ApiError::new(ErrorCode::StoreUnavailable, "the database does not answer")),
    }
    if app.is_out_of_room().await {
        return Err(full());
    }
    Ok(health("ready"))
}

/// 503, not 507: whoever asks is a load balancer, not a client with a video.
fn full() -> ApiError {
    ApiError::new(ErrorCode::Overloaded, "there is too little room: no new videos are accepted; make some")
}

/// A page for people who open the address in a browser.
pub async fn index() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Longtake</title>\
         <body style=\"font-family: sans-serif; max-width: 40em; margin: 4em auto\"><h1>Longtake</h1>\
         <p>This is the API of a Longtake server: one API in front of many video providers.</p>\
         <ul><li><a href=\"/openapi.json\">The API as an OpenAPI document</a></li>\
         <li><a href=\"https://github.com/longtake/longtake\">Documentation</a></li>\
         <li><a href=\"/healthz\">Health</a></li></ul></body></html>",
    )
}
