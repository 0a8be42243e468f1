//! What the OpenAPI document says of the two dialects: members and errors as each writes them.
//!
//! The handlers are described once, under dialect B's names. Here every operation gets what its path speaks, by the rules
//! by which [`Dialect::spelled`] and `errors` write the answers.

use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, Schema};

use super::dialect::{Dialect, camel};
use crate::http::openapi::operations_of;

/// Answers whose outermost members each dialect writes in its own way.
const ANSWERS: [&str; 6] = [
    "ConduitAcceptedTask",
    "ConduitDownloadInfo",
    "ConduitEphemeralKey",
    "ConduitMediaInfo",
    "ConduitTask",
    "ConduitTaskStatus",
];
/// Requests whose members A's clients name in their own way.
const REQUESTS: [&str; 1] = ["ConduitLinkRequest"];
/// Members that are in the answers of one dialect only.
const OF_ONE: [(&str, &str, Dialect); 3] = [
    ("ConduitTask", "next_retry_at", Dialect::A),
    ("ConduitTaskStatus", "video_response", Dialect::A),
    ("ConduitTaskStatus", "result_raw", Dialect::B),
];

/// Gives every operation of Conduit's the members and the errors of the dialect that its path speaks.
pub fn describe(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let Some(dialect) = Dialect::of_path(path) else { continue };
        for operation in operations_of(item) {
            speak(operation, dialect);
        }
    }
    let Some(components) = &mut document.components else { return };
    for name in REQUESTS.into_iter().chain(ANSWERS) {
        let Some(RefOr::T(Schema::Object(object))) = components.schemas.get(name).cloned() else { continue };
        let is_answer = ANSWERS.contains(&name);
        let (a, b) = (in_a(name, object.clone(), is_answer), in_b(name, object, is_answer));
        components.schemas.insert(name_in_a(name), a.into());
        components.schemas.insert(name.to_owned(), b.into());
    }
}

/// The name of A's schema beside B's.
fn name_in_a(name: &str) -> String {
    format!("{name}A")
}

fn speak(operation: &mut Operation, dialect: Dialect) {
    let refusals = operation.responses.responses.iter_mut().filter(|(status, _)| status.as_str() >= "400");
    refusals.filter_map(|(_, response)| of_t(response)).for_each(|response| refuse(response, dialect));
    if dialect == Dialect::B {
        return;
    }
    let answers = operation.responses.responses.values_mut().filter_map(of_t).flat_map(|one| one.content.values_mut());
    let asked = operation.request_body.iter_mut().filter_map(of_t).flat_map(|body| body.content.values_mut());
    for content in answers.chain(asked).filter_map(of_t) {
        if let Some(RefOr::Ref(to)) = &mut content.schema
            && let Some(name) = ANSWERS.into_iter().chain(REQUESTS).find(|name| *to == Ref::from_schema_name(*name))
        {
            *to = Ref::from_schema_name(name_in_a(name));
        }
    }
}

/// What stands here itself; nothing of ours stands elsewhere.
fn of_t<T>(one: &mut RefOr<T>) -> Option<&mut T> {
    match one {
        RefOr::T(one) => Some(one),
        RefOr::Ref(_) => None,
    }
}

/// The body of every error is the dialect's, whatever the handler says of it.
fn refuse(response: &mut Response, dialect: Dialect) {
    let (kind, schema) = match dialect {
        Dialect::A => ("application/problem+json", "ConduitProblem"),
        Dialect::B => ("application/json", "ConduitError"),
    };
    let body = Content::new(Some(Ref::from_schema_name(schema)));
    response.content = [(kind.to_owned(), body.into())].into_iter().collect();
}

/// In camelCase. Of an answer every member is there, null where there is nothing to say.
fn in_a(schema: &str, mut object: Object, is_answer: bool) -> Object {
    leave_out(schema, &mut object, Dialect::B);
    for (name, member) in std::mem::take(&mut object.properties) {
        if is_answer && is_nullable(&member) {
            object.required.push(name.clone());
        }
        object.properties.insert(camel(&name), own_of_a(schema, &name).unwrap_or(member));
    }
    object.required = object.required.iter().map(|name| camel(name)).collect();
    object
}

/// As it is described; of an answer, members with nothing to say are left out instead of null.
fn in_b(schema: &str, mut object: Object, is_answer: bool) -> Object {
    leave_out(schema, &mut object, Dialect::A);
    if is_answer {
        object.properties.values_mut().for_each(never_null);
    }
    object
}

fn leave_out(schema: &str, object: &mut Object, of: Dialect) {
    for (_, member, _) in OF_ONE.into_iter().filter(|(in_schema, _, only)| *in_schema == schema && *only == of) {
        object.properties.remove(member);
        object.required.retain(|name| name != member);
    }
}

/// Members that A writes otherwise, not just under another name.
fn own_of_a(schema: &str, member: &str) -> Option<RefOr<Schema>> {
    let text = |description: &str| {
        let types = SchemaType::from_iter([Type::String, Type::Null]);
        ObjectBuilder::new().schema_type(types).description(Some(description)).into()
    };
    match (schema, member) {
        ("ConduitTask", "state") => Some(
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .description(Some("0 pending, 1 processing, 2 completed, 3 failed, 4 cancelled, 5 timed out."))
                .minimum(Some(0))
                .maximum(Some(5))
                .into(),
        ),
        ("ConduitTask" | "ConduitTaskStatus", "result") => Some(text(
            "What it made: JSON as text, with `videoUrl`, `usage`, `model`, `created` and `duration` (how long the work took, in seconds).",
        )),
        _ => None,
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(Object { schema_type: SchemaType::Type(Type::Null), .. })))
}

fn is_nullable(schema: &RefOr<Schema>) -> bool {
    match schema {
        RefOr::T(Schema::Object(Object { schema_type: SchemaType::Array(types), .. })) => types.contains(&Type::Null),
        RefOr::T(Schema::OneOf(either)) => either.items.iter().any(is_null),
        _ => false,
    }
}

fn never_null(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(Object { schema_type, .. })) => {
            if let SchemaType::Array(types) = schema_type {
                types.retain(|one| *one != Type::Null);
                if let [one] = types.as_slice() {
                    *schema_type = SchemaType::Type(one.clone());
                }
            }
        }
        RefOr::T(Schema::OneOf(either)) => either.items.retain(|item| !is_null(item)),
        _ => {}
    }
}
