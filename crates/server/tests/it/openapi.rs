//! The OpenAPI document as somebody who generates a client from it finds it: nothing in it leads nowhere, and what every
//! route does is said of every route.

use std::collections::BTreeSet;

use longtake::http::openapi::openapi_json;
use serde_json::{Map, Value};

/// The whole document.
pub fn document() -> Value {
    serde_json::from_str(&openapi_json()).unwrap()
}

/// Every operation with its method and path.
pub fn operations(document: &Value) -> Vec<(String, &Map<String, Value>)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{} {path}", method.to_uppercase());
            found.extend(operation.as_object().map(|operation| (name, operation)));
        }
    }
    found
}

/// Where every `$ref` below this leads.
fn references<'d>(value: &'d Value, found: &mut BTreeSet<&'d str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let missing: Vec<&&str> = found.iter().filter(|place| document.pointer(&place[1..]).is_none()).collect();
    assert!(missing.is_empty(), "lead nowhere: {missing:?}");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let unused: Vec<&String> =
        schemas.keys().filter(|name| !found.contains(format!("#/components/schemas/{name}").as_str())).collect();
    assert!(unused.is_empty(), "nothing uses {unused:?}");
}

#[test]
fn what_every_key_and_every_body_may_meet_is_said_everywhere() {
    let document = document();
    for (name, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap();
        // An empty requirement: the route asks for no key.
        let mut expected = if operation.contains_key("security") { vec![] } else { vec!["401", "403", "429", "503"] };
        if operation.contains_key("requestBody") && !expected.is_empty() {
            expected.extend(["413", "415"]);
        }
        for status in expected {
            assert!(responses.contains_key(status), "{name} does not say {status}");
        }
    }
}

#[test]
fn every_error_is_said_in_the_words_of_its_path() {
    let document = document();
    for (name, operation) in operations(&document) {
        let of_conduit = operation["tags"] == serde_json::json!(["conduit"]);
        let (kind, schema) = match (of_conduit, name.contains(" /v1/conduit/")) {
            (true, true) => ("application/json", "ConduitError"),
            (true, false) => ("application/problem+json", "ConduitProblem"),
            (false, _) => ("application/json", "ErrorBody"),
        };
        for (status, response) in operation["responses"].as_object().unwrap() {
            // A load balancer reads the status of a server that is not ready; its body says how it is.
            if status.as_str() < "400" || name == "GET /readyz" {
                continue;
            }
            let content = response["content"].as_object().unwrap_or_else(|| panic!("{name} {status} has no body"));
            assert_eq!(content.keys().collect::<Vec<_>>(), [kind], "{name} {status}");
            let body = &content[kind]["schema"]["$ref"];
            assert_eq!(*body, format!("#/components/schemas/{schema}"), "{name} {status}");
        }
    }
}
