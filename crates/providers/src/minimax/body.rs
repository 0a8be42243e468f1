//! Bodies of creates, both contracts.

use base64::Engine as _;
use longtake_core::provider::{InputBytes, SubmitRequest};
use serde_json::{Map, Value, json};

use super::options::Wanted;

fn data_uri(input: &InputBytes) -> String {
    format!("data:{};base64,{}", input.media_type, base64::engine::general_purpose::STANDARD.encode(&input.bytes))
}

/// The body of a create on the second wire.
pub(super) fn second(request: &SubmitRequest, wanted: &Wanted) -> Value {
    let mut content = vec![json!({"type": "text", "text": &*request.request.prompt})];
    if let Some(input) = &request.input {
        content.push(json!({"type": "image_url", "image_url": {"url": data_uri(input)}, "role": "first_frame"}));
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(&*request.model));
    body.insert("content".to_owned(), Value::Array(content));
    body.insert("resolution".to_owned(), json!(wanted.resolution));
    body.insert("duration".to_owned(), json!(request.request.seconds));
    if let Some(ratio) = wanted.ratio {
        body.insert("ratio".to_owned(), json!(ratio));
    }
    if let Some(mode) = &wanted.prompt_expansion_mode {
        body.insert("extra".to_owned(), json!({"prompt_expansion_mode": mode}));
    }
    if let Some(on) = wanted.aigc_watermark {
        body.insert("aigc_watermark".to_owned(), json!(on));
    }
    if let Some(url) = &request.callback_url {
        body.insert("callback_url".to_owned(), json!(url));
    }
    Value::Object(body)
}

/// The body of a create on the first wire.
pub(super) fn first(request: &SubmitRequest, wanted: &Wanted) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(&*request.model));
    body.insert("prompt".to_owned(), json!(&*request.request.prompt));
    body.insert("duration".to_owned(), json!(request.request.seconds));
    body.insert("resolution".to_owned(), json!(wanted.resolution));
    if let Some(input) = &request.input {
        body.insert("first_frame_image".to_owned(), json!(data_uri(input)));
    }
    let switches = [
        ("aigc_watermark", wanted.aigc_watermark),
        ("prompt_optimizer", wanted.prompt_optimizer),
        ("fast_pretreatment", wanted.fast_pretreatment),
    ];
    for (name, on) in switches {
        if let Some(on) = on {
            body.insert(name.to_owned(), json!(on));
        }
    }
    if let Some(url) = &request.callback_url {
        body.insert("callback_url".to_owned(), json!(url));
    }
    Value::Object(body)
}
