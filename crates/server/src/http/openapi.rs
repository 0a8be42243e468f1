//! The OpenAPI document: from the handlers themselves, committed as docs/openapi.json.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use std::sync::OnceLock;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Content, OpenApi as Document, PathItem, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::conduit;
use super::conduit::errors::{ConduitError, Problem};
use super::router::routes;
use crate::app::App;

/// What is true of the whole API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Longtake",
        description = "One API in front of many AI video providers, whose jobs survive everything. Errors: docs/errors.",
    ),
    security(("api_key" = [])),
    modifiers(&ApiKeyScheme),
    components(schemas(ConduitError, Problem)),
)]
pub struct ApiDocument;

struct ApiKeyScheme;

impl Modify for ApiKeyScheme {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key: `lt_` and 43 characters. Scopes: read, write, admin."))
            .build();
        document
            .components
            .get_or_insert_with(Components::new)
            .add_security_scheme("api_key", SecurityScheme::Http(scheme));
    }
}

/// The document as pretty JSON with a final newline; the same for the same version.
pub fn openapi_json() -> String {
    let (_, mut document) = routes().split_for_parts();
    name_parameters(&mut document);
    add_refusals(&mut document);
    conduit::document::describe(&mut document);
    describe_responses(&mut document);
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// What every route that asks for a key may refuse with.
const REFUSALS_OF_KEYS: [(&str, &str); 4] = [
    ("401", "No key, or not a valid one."),
    ("403", "The key may not do this."),
    ("429", "Too many requests with this key: ask again as `Retry-After` says."),
    ("503", "Too much at once, or the database does not answer: ask again as `Retry-After` says."),
];
/// What every one of them that reads a body may also refuse with.
const REFUSALS_OF_BODIES: [(&str, &str); 2] = [
    ("413", "The body is larger than the route reads."),
    ("415", "The body is of a type that the route does not read."),
];

/// What is refused in one place for many routes is said in one place too. Where a handler says it better, that stays.
fn add_refusals(document: &mut Document) {
    for operation in document.paths.paths.values_mut().flat_map(operations_of) {
        if operation.security.is_some() {
            continue; // it asks for no key
        }
        let of_bodies = if operation.request_body.is_some() { &REFUSALS_OF_BODIES[..] } else { &[] };
        for (status, description) in REFUSALS_OF_KEYS.iter().chain(of_bodies) {
            let refusal = || {
                let body = Content::new(Some(Ref::from_schema_name("ErrorBody")));
                ResponseBuilder::new().description(*description).content("application/json", body).into()
            };
            operation.responses.responses.entry((*status).to_owned()).or_insert_with(refusal);
        }
    }
}

/// Every operation of a path, as far as we use methods.
pub fn operations_of(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.delete, &mut item.options].into_iter().flatten()
}

/// The router writes `{*key}` for the rest of a path; OpenAPI knows parameters by their plain names only.
fn name_parameters(document: &mut Document) {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
}

/// OpenAPI requires a description of each response; where a handler adds nothing, the status says it all.
fn describe_responses(document: &mut Document) {
    for item in document.paths.paths.values_mut() {
        for operation in operations_of(item) {
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    let known = StatusCode::from_bytes(status.as_bytes()).ok();
                    let reason = known.and_then(|status| status.canonical_reason()).unwrap_or("The answer");
                    response.description = format!("{reason}.");
                }
            }
        }
    }
}

/// Serves the document.
pub async fn document(State(_): State<App>) -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    ([(CONTENT_TYPE, "application/json")], TEXT.get_or_init(openapi_json).as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_the_current_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == openapi_json(),
            "docs/openapi.json is old: write it anew with `longtake openapi > docs/openapi.json`"
        );
    }
}
