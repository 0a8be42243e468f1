//! Paths and handlers, tied together once for the router and for the OpenAPI document.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::conduit::dialect::Dialect;
use super::conduit::door::door;
use super::error::{ApiError, ErrorCode};
use super::openapi::ApiDocument;
use super::{
    api_keys, callbacks, conduit, events, feed, files, health, metrics, models, observe, openapi, videos,
    webhook_endpoints,
};
use crate::app::App;

/// The whole API.
pub fn router(app: App) -> Router {
    let (documented, _) = routes().split_for_parts();
    documented
        .route("/openapi.json", get(openapi::document))
        .route("/", get(health::index))
        // Names where an id would sit, of routes that this server does not have.
        .route("/v1/videos/generations", any(no_such_route))
        .route("/v1/videos/characters", any(no_such_route))
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), observe::observe))
        .layer(from_fn(door))
        .with_state(app)
}

/// What a process that only drives jobs serves: how it is.
pub fn worker_router(app: App) -> Router {
    let documented = OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics));
    let (router, _) = documented.split_for_parts();
    router
        .fallback(no_api_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), observe::observe))
        .with_state(app)
}

async fn no_api_here() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "this process is a worker: ask one with role api or all")
}

/// Every documented route. Literals such as `edits` win over ids in the router.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(ApiDocument::openapi())
        .routes(routes!(videos::create::create, videos::list::list))
        .routes(routes!(videos::get::get, videos::delete::delete))
        .routes(routes!(videos::content::content))
        .routes(routes!(videos::link::link))
        .routes(routes!(events::events))
        .routes(routes!(feed::feed))
        .routes(routes!(feed::socket::socket))
        .routes(routes!(videos::timeline::timeline))
        .routes(routes!(videos::deliveries::list))
        .routes(routes!(videos::deliveries::redeliver))
        .routes(routes!(videos::cancel::cancel))
        .routes(routes!(videos::retry::retry))
        .routes(routes!(videos::resolve::resolve))
        .routes(routes!(videos::quote::quote))
        .routes(routes!(videos::remix::remix))
        .routes(routes!(videos::remix::edits))
        .routes(routes!(videos::remix::extensions))
        .routes(routes!(files::upload))
        .routes(routes!(files::get))
        .routes(routes!(models::list))
        .routes(routes!(models::get))
        .routes(routes!(webhook_endpoints::create::create, webhook_endpoints::list::list))
        .routes(routes!(webhook_endpoints::secrets::of_videos))
        .routes(routes!(
            webhook_endpoints::list::get,
            webhook_endpoints::change::update,
            webhook_endpoints::change::delete
        ))
        .routes(routes!(webhook_endpoints::test::test))
        .routes(routes!(webhook_endpoints::secrets::rotate))
        .routes(routes!(webhook_endpoints::replay::replay))
        .routes(routes!(webhook_endpoints::deliveries::list))
        .routes(routes!(webhook_endpoints::deliveries::redeliver))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::delete))
        .routes(routes!(callbacks::callback))
        .nest(Dialect::A.prefix(), conduit::routes(Dialect::A))
        .nest(Dialect::B.prefix(), conduit::routes(Dialect::B))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
}

async fn no_such_route() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such route; see /openapi.json for those there are")
}

async fn wrong_method() -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed, "the route does not know this method; Allow says which it knows")
}
