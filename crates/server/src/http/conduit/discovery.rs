//! `/discovery`: the models on offer, and what each can be told.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::dialect::Dialect;
use super::errors::Refusals;
use super::wish::{is_known, takes_picture};
use crate::app::{App, Model};
use crate::http::auth::Reader;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::query::Query;
use crate::http::videos::path::Name;

/// What every model here can.
const CAPABILITY: &str = "video_generation";

/// One model. Its members are in snake_case in both dialects.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitModel)]
pub struct ModelItem {
    /// The name a request gives in `model`.
    id: String,
    /// Who serves it first.
    #[schema(value_type = Option<String>)]
    provider: Option<&'static str>,
    display_name: String,
    description: Option<String>,
    model_card_url: Option<String>,
    max_tokens: Option<u32>,
    max_input_tokens: Option<u32>,
    max_output_tokens: Option<u32>,
    tokenizer_type: Option<String>,
    /// JSON as text: what a create may say, by member, each with `type`, `label` and bounds.
    parameters: String,
    supports_chat: bool,
    supports_streaming: bool,
    supports_vision: bool,
    supports_function_calling: bool,
    supports_video_generation: bool,
    supports_image_generation: bool,
    supports_embeddings: bool,
}

/// Models.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitModelList)]
pub struct ModelItems {
    data: Vec<ModelItem>,
    count: usize,
}

/// Capabilities.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitCapabilityList)]
pub struct Capabilities {
    #[schema(value_type = Vec<String>)]
    data: Vec<&'static str>,
    count: usize,
}

/// What a create of one model may say.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitModelParameters)]
pub struct ModelParameters {
    model: String,
    /// By member, each with `type`, `label` and bounds.
    #[schema(value_type = Object)]
    parameters: Value,
}

/// Lists the models that can do something.
#[utoipa::path(
    get, path = "/discovery/models", operation_id = "discover_models", tag = "conduit",
    params(("capability" = Option<String>, Query, description = "`video_generation`; of no other there are any.")),
    responses((status = 200, body = ModelItems, description = "The models."), Refusals)
)]
pub async fn models(State(app): State<App>, _caller: Reader, mut query: Query) -> Response {
    let asked = query.take("capability").is_none_or(|capability| capability == CAPABILITY);
    let data: Vec<ModelItem> = app.models.all().iter().filter(|_| asked).map(|model| item(&app, model)).collect();
    let list = ModelItems { count: data.len(), data };
    Dialect::B.answer(StatusCode::OK, &list)
}

/// Lists what models can do.
#[utoipa::path(
    get, path = "/discovery/capabilities", operation_id = "discover_capabilities", tag = "conduit",
    responses((status = 200, body = Capabilities, description = "One."), Refusals)
)]
pub async fn capabilities(_caller: Reader) -> Response {
    Dialect::B.answer(StatusCode::OK, &Capabilities { data: vec![CAPABILITY], count: 1 })
}

/// Tells what a create of one model may say.
#[utoipa::path(
    get, path = "/discovery/models/{alias}/parameters", operation_id = "discover_parameters", tag = "conduit",
    params(("alias" = String, Path, description = "The model.")),
    responses((status = 200, body = ModelParameters, description = "By member."), Refusals)
)]
pub async fn parameters(State(app): State<App>, _caller: Reader, Name(alias): Name) -> Result<Response, ApiError> {
    let model = alias.and_then(|alias| app.models.get(&alias)).ok_or_else(|| {
        ApiError::new(ErrorCode::ModelNotFound, "this model is not on offer; list what is with GET …/discovery/models")
    })?;
    let body = ModelParameters { model: model.name.clone(), parameters: fields_of(&app, model) };
    Ok(Dialect::B.answer(StatusCode::OK, &body))
}

fn item(app: &App, model: &Model) -> ModelItem {
    ModelItem {
        id: model.name.clone(),
        provider: model.routes.first().and_then(|route| app.provider_name(route.account)),
        display_name: model.name.clone(),
        description: None,
        model_card_url: None,
        max_tokens: None,
        max_input_tokens: None,
        max_output_tokens: None,
        tokenizer_type: None,
        parameters: fields_of(app, model).to_string(),
        supports_chat: false,
        supports_streaming: false,
        supports_vision: false,
        supports_function_calling: false,
        supports_video_generation: true,
        supports_image_generation: false,
        supports_embeddings: false,
    }
}

/// The fields of a form for this model, as Conduit's clients draw them.
fn fields_of(app: &App, model: &Model) -> Value {
    let accepts = &model.accepts;
    let mut fields = Map::new();
    let seconds = accepts.seconds.iter().copied().filter(|seconds| *seconds <= 60);
    let default = accepts.default_seconds.to_string();
    fields.insert(
        "duration".to_owned(),
        if accepts.seconds.is_empty() {
            json!({"type": "number", "label": "Duration", "min": 1, "max": 60, "default": accepts.default_seconds})
        } else {
            let options = seconds.map(|n| (n.to_string(), format!("{n} second{}", if n == 1 { "" } else { "s" })));
            select("Duration", options, &default)
        },
    );
    let size = accepts.default_size.to_string();
    fields.insert(
        "size".to_owned(),
        if accepts.sizes.is_empty() {
            json!({"type": "text", "label": "Size", "placeholder": "WIDTHxHEIGHT", "default": size})
        } else {
            select("Size", accepts.sizes.iter().map(|size| (size.to_string(), size.to_string())), &size)
        },
    );
    if takes_picture(model) {
        let field = json!({"type": "text", "label": "Start image", "placeholder": "https://…", "default": null});
        fields.insert("start_image".to_owned(), field);
    }
    let known = [
        ("fps", json!({"type": "number", "label": "Frames per second", "min": 1, "max": 120, "default": null})),
        ("seed", json!({"type": "number", "label": "Seed", "default": null})),
        ("negative_prompt", json!({"type": "textarea", "label": "Negative prompt", "rows": 2, "default": ""})),
        ("prompt_optimizer", json!({"type": "switch", "label": "Prompt optimizer", "default": false})),
    ];
    fields.extend(
        known.into_iter().filter(|(name, _)| is_known(app, model, name)).map(|(name, field)| (name.to_owned(), field)),
    );
    Value::Object(fields)
}

fn select(label: &str, options: impl Iterator<Item = (String, String)>, default: &str) -> Value {
    let options: Vec<Value> = options.map(|(value, label)| json!({"value": value, "label": label})).collect();
    json!({"type": "select", "label": label, "options": options, "default": default})
}
