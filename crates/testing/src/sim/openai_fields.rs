//! Decoding and checking an OpenAI-shaped create: multipart or JSON, with any extra fields.

use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, header};
use serde_json::{Map, Value, json};

use super::ledger::Vendor;
use super::options::{Flavour, Options};
use super::submit::{NewJob, Refusal, request_hash};
use super::{MAX_BODY_BYTES, faults};

/// The fields of a create as one JSON object; an uploaded part becomes its name, size and digest.
pub(super) async fn decode(request: Request, options: &Options) -> Result<Value, Refusal> {
    let form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("multipart/form-data"));
    if form {
        return decode_form(request, options).await;
    }
    if options.flavour == Flavour::VllmOmni {
        return Err(Refusal::invalid("prompt", "Field required (the body must be multipart/form-data)"));
    }
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await;
    let body = body.map_err(|error| Refusal::invalid("body", error.to_string()))?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(fields)) => Ok(Value::Object(fields)),
        Ok(_) => Err(Refusal::invalid("body", "the body must be a JSON object")),
        Err(error) => Err(Refusal::invalid("body", error.to_string())),
    }
}

async fn decode_form(request: Request, options: &Options) -> Result<Value, Refusal> {
    let broken = |error: String| Refusal::invalid("body", error);
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| broken(error.to_string()))?;
    let mut fields = Map::new();
    while let Some(part) = form.next_field().await.map_err(|error| broken(error.to_string()))? {
        let name = part.name().unwrap_or_default().to_owned();
        let file_name = part.file_name().map(ToOwned::to_owned);
        let bytes = part.bytes().await.map_err(|error| broken(error.to_string()))?;
        let value = match file_name {
            Some(file) => json!({"file": file, "bytes": bytes.len(), "digest": faults::hash(&bytes)}),
            None => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        };
        fields.insert(name, value);
    }
    // Bracketed names are how the Node SDK writes an object into a form: `input_reference[image_url]`.
    let bracketed: Vec<String> = fields.keys().filter(|name| name.ends_with(']')).cloned().collect();
    for name in bracketed {
        let Some((outer, inner)) = name.trim_end_matches(']').split_once('[') else { continue };
        let value = fields.remove(&name).unwrap_or_default();
        let object = fields.entry(outer.to_owned()).or_insert_with(|| json!({}));
        if let Some(object) = object.as_object_mut() {
            object.insert(inner.to_owned(), value);
        }
    }
    // A form knows text only, so SGLang reads its integer from it.
    if options.flavour == Flavour::Sglang
        && let Some(seconds) = fields.get("seconds").and_then(Value::as_str).and_then(|text| text.parse::<u32>().ok())
    {
        fields.insert("seconds".to_owned(), json!(seconds));
    }
    Ok(Value::Object(fields))
}

fn text(fields: &Value, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Checks the fields by the rules of the flavour.
pub(super) fn check(fields: &Value, headers: &HeaderMap, options: &Options) -> Result<NewJob, Refusal> {
    let prompt = match fields.get("prompt") {
        Some(Value::String(prompt)) if !prompt.is_empty() => prompt.clone(),
        Some(Value::String(_)) | None => {
            return Err(Refusal::invalid("prompt", "Missing required parameter: 'prompt'."));
        }
        Some(_) => return Err(Refusal::invalid("prompt", "Invalid type for 'prompt': expected a string.")),
    };
    let model =
        text(fields, "model").unwrap_or_else(|| options.models.first().map_or("sora-2", |model| model).to_owned());
    if !options.models.is_empty() && !options.models.contains(&model) {
        return Err(Refusal::invalid("model", format!("The model '{model}' does not exist.")));
    }
    let seconds = check_seconds(fields.get("seconds"), options)?;
    let size = check_size(fields)?;
    if let Some(Value::Object(reference)) = fields.get("input_reference") {
        let known = ["file_id", "image_url", "file"].iter().filter(|name| reference.contains_key(**name)).count();
        if known != 1 {
            let message = "input_reference must be an upload or exactly one of file_id and image_url";
            return Err(Refusal::invalid("input_reference", message));
        }
    }
    let per_second = if model.contains("pro") { 0.30 } else { 0.10 };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let metadata = fields.get("metadata").and_then(|value| text(value, "client_ref"));
    Ok(NewJob {
        vendor: Vendor::OpenaiCompatible,
        model,
        prompt,
        seconds,
        size,
        ratio: String::new(),
        idempotency_key: header("idempotency-key"),
        client_ref: header("x-client-ref")
            .or(metadata)
            .or_else(|| text(fields, "client_ref"))
            .or_else(|| text(fields, "user")),
        // Not part of this shape; a field of that name is an extra field.
        callback_url: None,
        remix_of: None,
        request_hash: request_hash(fields),
        price_usd: per_second * f64::from(seconds),
    })
}

fn check_seconds(value: Option<&Value>, options: &Options) -> Result<u32, Refusal> {
    let wrong = |message: String| Err(Refusal::invalid("seconds", message));
    let (seconds, typed) = match value {
        None => return Ok(4),
        Some(Value::String(text)) => (text.parse::<u32>().ok(), options.flavour != Flavour::Sglang),
        Some(Value::Number(number)) => {
            (number.as_u64().and_then(|number| u32::try_from(number).ok()), options.flavour == Flavour::Sglang)
        }
        Some(_) => (None, false),
    };
    let Some(seconds) = seconds.filter(|seconds| (1..=600).contains(seconds)) else {
        return wrong(format!("Invalid value for 'seconds': {}", value.cloned().unwrap_or_default()));
    };
    if options.strict_seconds {
        if !typed {
            let expected = if options.flavour == Flavour::Sglang { "an integer" } else { "a string" };
            return wrong(format!("Invalid type for 'seconds': expected {expected}."));
        }
        if options.flavour == Flavour::Openai && ![4, 8, 12, 16, 20].contains(&seconds) {
            return wrong(format!("Invalid value: '{seconds}'. Supported values are: '4', '8', '12', '16' and '20'."));
        }
    }
    Ok(seconds)
}

fn check_size(fields: &Value) -> Result<String, Refusal> {
    let size = text(fields, "size").unwrap_or_else(|| "720x1280".to_owned());
    let side = |side: &str| side.parse::<u32>().is_ok_and(|side| (16..=8192).contains(&side));
    match size.split_once('x') {
        Some((width, height)) if side(width) && side(height) => Ok(size),
        _ => Err(Refusal::invalid("size", format!("Invalid value for 'size': '{size}'."))),
    }
}
