//! The create: a form as the official SDKs send it, or JSON for servers that want a number. And the remix, which names
//! the video it starts from in its address and carries nothing but a prompt.

use http::{HeaderMap, HeaderName, Method, header};
use longtake_core::provider::{SubmitRequest, Unsupported};
use reqwest::Url;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::OpenaiCompatible;
use super::options::{SecondsType, extra_fields};
use crate::http::{Ask, Body, set_header};

/// Carries our client ref as it is (R6); whether the server honours it is told by the account.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl OpenaiCompatible {
    pub(super) fn create<'a>(&self, request: &'a SubmitRequest) -> Result<Ask<'a>, Unsupported> {
        let wanted = &request.request;
        if let Some(source) = &wanted.source {
            let id = source.provider_job.as_ref().filter(|_| self.options.remix);
            let id = id.ok_or_else(|| Unsupported::new("model", "this server makes no remixes"))?;
            let body = Body::Json(json!({"prompt": wanted.prompt}));
            return Ok(self.purchase(request, self.http.url(&["videos", id.as_str(), "remix"]), body));
        }
        let extra = extra_fields(wanted)?;
        let body = match &request.input {
            None if self.options.seconds_type == SecondsType::Integer => {
                let mut fields = extra;
                fields.insert("prompt".to_owned(), json!(wanted.prompt));
                fields.insert("model".to_owned(), json!(&*request.model));
                fields.insert("seconds".to_owned(), json!(wanted.seconds));
                fields.insert("size".to_owned(), json!(wanted.size.to_string()));
                Body::Json(Value::Object(fields))
            }
            input => {
                let mut form = Form::new()
                    .text("prompt", wanted.prompt.to_string())
                    .text("model", request.model.to_string())
                    .text("seconds", wanted.seconds.to_string())
                    .text("size", wanted.size.to_string());
                for (name, value) in extra {
                    let text = if let Value::String(text) = value { text } else { value.to_string() };
                    form = form.text(name, text);
                }
                if let Some(input) = input {
                    let name = format!("input.{}", input.media_type.rsplit('/').next().unwrap_or("png"));
                    let part = Part::stream(input.bytes.clone()).file_name(name).mime_str(&input.media_type);
                    let part = part.map_err(|error| Unsupported::new("input_reference", error.to_string()))?;
                    form = form.part("input_reference", part);
                }
                Body::Form(form)
            }
        };
        Ok(self.purchase(request, self.http.url(&["videos"]), body))
    }

    fn purchase<'a>(&self, request: &'a SubmitRequest, url: Url, body: Body) -> Ask<'a> {
        let mut headers = HeaderMap::new();
        set_header(&mut headers, IDEMPOTENCY_KEY, request.client_ref.as_str());
        set_header(&mut headers, header::ACCEPT, "application/json");
        Ask {
            call: "submit",
            method: Method::POST,
            url,
            headers,
            body,
            deadline: self.profile.submit_timeout,
            prompt: Some(&request.request.prompt),
        }
    }
}
