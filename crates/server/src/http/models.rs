//! `GET /v1/models`: what each model accepts, costs and when it ends.

use axum::Json;
use axum::extract::State;
use longtake_core::provider::{InputSupport, RemixSupport};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Reader;
use super::error::{ApiError, ErrorBody, ErrorCode};
use super::videos::path::Name;
use super::videos::wire::dollars;
use crate::app::{App, Model};

/// One model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub struct ModelBody {
    /// The name a request gives in `model`.
    pub id: String,
    /// Always `model`.
    #[schema(value_type = String, example = "model")]
    pub object: &'static str,
    /// Always 0: kept for the SDKs' sake.
    pub created: i64,
    /// Always `longtake`: kept for the SDKs' sake.
    #[schema(value_type = String)]
    pub owned_by: &'static str,
    /// It is taken where a request names no model.
    pub default: bool,
    /// Who serves it, in order of fallback.
    #[schema(value_type = Vec<String>)]
    pub providers: Vec<&'static str>,
    /// Lengths it accepts, in seconds; empty means any.
    pub seconds: Vec<u32>,
    /// The length taken where none is asked for.
    pub default_seconds: u32,
    /// Sizes it accepts; empty means any that its provider can.
    pub sizes: Vec<String>,
    /// The size taken where none is asked for.
    pub default_size: String,
    /// Whether it takes an input image: `no`, `optional` or `required`.
    #[schema(value_type = String)]
    pub input_image: &'static str,
    /// Longest prompt, in characters.
    pub max_prompt_chars: usize,
    /// Whether it makes a new video of a completed one and another prompt.
    pub remix: bool,
    /// Dollars per second of video, the highest where that depends on more (`POST /v1/videos/quote` tells what one video
    /// costs); null where unknown.
    pub price_usd_per_second: Option<f64>,
    /// The day its provider switches it off, `YYYY-MM-DD`.
    pub sunset: Option<String>,
}

/// All models.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    /// Always `list`.
    #[schema(value_type = String, example = "list")]
    pub object: &'static str,
    /// The models.
    pub data: Vec<ModelBody>,
}

/// Lists the models on offer.
#[utoipa::path(
    get, path = "/v1/models", operation_id = "list_models", tag = "models",
    responses((status = 200, body = ModelList), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody))
)]
pub async fn list(State(app): State<App>, _caller: Reader) -> Json<ModelList> {
    Json(ModelList { object: "list", data: app.models.all().iter().map(|model| body(&app, model)).collect() })
}

/// Shows one model.
#[utoipa::path(
    get, path = "/v1/models/{id}", operation_id = "get_model", tag = "models",
    params(("id" = String, Path, description = "The model's public name.")),
    responses(
        (status = 200, body = ModelBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn get(State(app): State<App>, _caller: Reader, Name(name): Name) -> Result<Json<ModelBody>, ApiError> {
    let model = name.and_then(|name| app.models.get(&name)).ok_or_else(|| {
        ApiError::new(ErrorCode::ModelNotFound, "this model is not on offer; list what is with GET /v1/models")
    })?;
    Ok(Json(body(&app, model)))
}

fn body(app: &App, model: &Model) -> ModelBody {
    let accepts = &model.accepts;
    ModelBody {
        id: model.name.clone(),
        object: "model",
        created: 0,
        owned_by: "longtake",
        default: model.name == app.models.default_name(),
        providers: model.routes.iter().filter_map(|route| app.provider_name(route.account)).collect(),
        seconds: accepts.seconds.clone(),
        default_seconds: accepts.default_seconds,
        sizes: accepts.sizes.iter().map(ToString::to_string).collect(),
        default_size: accepts.default_size.to_string(),
        input_image: match accepts.input_image {
            InputSupport::No => "no",
            InputSupport::Optional => "optional",
            InputSupport::Required => "required",
        },
        max_prompt_chars: accepts.max_prompt_chars,
        remix: accepts.remix != RemixSupport::No,
        price_usd_per_second: accepts.price_usd_micros_per_second.map(dollars),
        sunset: accepts.sunset.clone(),
    }
}
