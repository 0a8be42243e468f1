//! `POST /v1/videos/quote`: the price before paying. Checked exactly as a create, and nothing is made.

use axum::Json;
use axum::extract::{Request, State};
use longtake_core::provider::ChargedOn;
use longtake_core::request::VideoRequest;
use longtake_core::route::Route;
use serde::Serialize;
use utoipa::ToSchema;

use super::accept::check;
use super::cost::first_route;
use super::create::{CreateVideoSchema, decode};
use super::wire::dollars;
use crate::app::App;
use crate::http::auth::Writer;
use crate::http::error::{ApiError, ErrorBody};

/// What a create with the same members would cost.
#[derive(Debug, Serialize, ToSchema)]
pub struct Quote {
    /// Always `video.quote`.
    #[schema(value_type = String, example = "video.quote")]
    pub object: &'static str,
    /// The public model name.
    pub model: String,
    /// Length, in seconds, as a string.
    pub seconds: String,
    /// Size.
    pub size: String,
    /// What the first attempt costs if it succeeds, in dollars; null where its price is unknown.
    pub cost_usd: Option<f64>,
    /// Who says so: `catalogue` (the vendor's published prices) or `config` (the operator); null where nobody does.
    #[schema(value_type = Option<String>, example = "catalogue")]
    pub price_source: Option<&'static str>,
    /// Why there is no price.
    pub note: Option<&'static str>,
    /// The limit asked for.
    pub max_cost_usd: Option<f64>,
    /// Who could serve it, in order of fallback.
    pub routes: Vec<QuotedRoute>,
}

/// What one route would cost.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuotedRoute {
    /// Its provider.
    pub provider: &'static str,
    /// The account's name in the config.
    pub account: String,
    /// In dollars; null where unknown.
    pub cost_usd: Option<f64>,
    /// `catalogue`, `config`, or null where the price is unknown.
    #[schema(value_type = Option<String>)]
    pub price_source: Option<&'static str>,
    /// When the provider charges: on `submit`, so that a failed attempt costs too, or on `success`.
    #[schema(value_type = String)]
    pub charged_on: &'static str,
    /// Whether it would be taken: its price fits below `max_cost_usd`, or there is no limit.
    pub within_limit: bool,
}

const UNKNOWN: &str = "the price of this model is not known here; its operator can set price_usd_per_second";

/// Tells what a create with the same members would cost. It answers with the same errors, and makes nothing.
#[utoipa::path(
    post, path = "/v1/videos/quote", operation_id = "quote_video", tag = "videos",
    request_body(content(
        (CreateVideoSchema = "application/json"),
        (CreateVideoSchema = "multipart/form-data"),
    )),
    responses(
        (status = 200, body = Quote),
        (status = 400, body = ErrorBody, description = "A create would be refused like this."),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody), (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub async fn quote(State(app): State<App>, Writer(caller): Writer, request: Request) -> Result<Json<Quote>, ApiError> {
    let (fields, _held) = decode(&app, request).await?;
    let checked = check(&app, caller.project, &fields).await?;
    Ok(Json(priced(&app, &checked.request)))
}

fn priced(app: &App, request: &VideoRequest) -> Quote {
    let model = app.models.get(&request.model);
    let routes = model.map_or(&[][..], |model| &model.routes);
    let first = first_route(app, request).ok();
    let price = first.and_then(|route| app.price(route.account, &route.model, request));
    Quote {
        object: "video.quote",
        model: request.model.to_string(),
        seconds: request.seconds.to_string(),
        size: request.size.to_string(),
        cost_usd: price.map(|price| dollars(price.usd_micros)),
        price_source: price.map(|price| price.source.word()),
        note: price.is_none().then_some(UNKNOWN),
        max_cost_usd: request.max_cost_usd_micros.map(dollars),
        routes: routes.iter().filter_map(|route| quoted(app, request, route)).collect(),
    }
}

fn quoted(app: &App, request: &VideoRequest, route: &Route) -> Option<QuotedRoute> {
    let entry = app.accounts.get(&route.account)?;
    let price = app.price(route.account, &route.model, request);
    let limit = request.max_cost_usd_micros;
    Some(QuotedRoute {
        provider: entry.provider.name(),
        account: entry.name.clone(),
        cost_usd: price.map(|price| dollars(price.usd_micros)),
        price_source: price.map(|price| price.source.word()),
        charged_on: match entry.provider.profile(route.account).charged_on {
            ChargedOn::Submit => "submit",
            ChargedOn::Success => "success",
        },
        within_limit: limit.is_none_or(|limit| price.is_some_and(|price| price.usd_micros <= limit)),
    })
}
