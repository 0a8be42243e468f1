//! `POST …/videos/generations/async`: accepted means committed to disk, as everywhere.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::dialect::Dialect;
use super::errors::Refusals;
use super::task::{TaskState, task_id};
use super::wish::Wish;
use crate::app::App;
use crate::http::auth::Writer;
use crate::http::body;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::node::{Members, Node};
use crate::http::schemas::WholeNumberSchema;
use crate::http::videos::create::{Again, make};
use crate::http::videos::wire;

/// When a task is estimated to be done where nothing was learnt yet: Conduit always says so.
const USUAL: Duration = Duration::from_secs(60);

/// The members of a create, for the OpenAPI document; `wish` decodes them. Others are kept for the provider.
#[derive(ToSchema)]
#[schema(as = ConduitCreateTask)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded by hand")]
pub struct CreateTaskSchema {
    /// What the video shall show.
    prompt: String,
    /// A model of this server.
    model: String,
    /// Length in seconds, 1 to 60.
    #[schema(value_type = Option<WholeNumberSchema>)]
    duration: Option<u32>,
    /// `1280x720`, or a class such as `720p`.
    size: Option<String>,
    /// Pictures per second, 1 to 120; where the model knows it.
    #[schema(value_type = Option<WholeNumberSchema>)]
    fps: Option<u32>,
    /// Where the model knows it.
    style: Option<String>,
    /// `url` or `b64_json`; a URL is answered in any case.
    response_format: Option<String>,
    /// The caller's own user: kept as `metadata.user`.
    user: Option<String>,
    /// Where the model knows it.
    #[schema(value_type = Option<WholeNumberSchema>)]
    seed: Option<i64>,
    /// One video is made, whatever it says.
    #[schema(value_type = Option<WholeNumberSchema>)]
    n: Option<u32>,
    /// A picture to start from: an http, https or data URL.
    first_frame_image: Option<String>,
    /// The same under another name; one of them may be there.
    start_image: Option<String>,
    /// Who is told when it is over: an http or https URL.
    webhook_url: Option<String>,
    /// Headers of that call.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    webhook_headers: Option<serde_json::Value>,
    /// The client's own pairs: kept as `metadata`.
    #[schema(value_type = Option<Object>)]
    webhook_metadata: Option<serde_json::Value>,
    /// The task is `timedout` after this many seconds, 1 to 3600. No limit if absent.
    #[schema(value_type = Option<WholeNumberSchema>)]
    timeout_seconds: Option<u32>,
}

/// A task that was accepted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitAcceptedTask)]
pub struct AcceptedTask {
    /// `task_` and 32 hex digits.
    task_id: String,
    /// `pending`, or what it is by now where an `Idempotency-Key` was used before.
    #[schema(value_type = String, example = "pending")]
    status: &'static str,
    /// In ISO 8601.
    created_at: String,
    /// Learnt from how long this model took before; else a minute after the create.
    estimated_completion_time: String,
    /// Where to look.
    check_status_url: String,
    /// Members that nobody who could make this video knows: they were left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored_parameters: Vec<String>,
}

/// Makes a task. The answer means that it is durable; rendering follows.
#[utoipa::path(
    post, path = "/videos/generations/async", operation_id = "create_task", tag = "conduit",
    params(("Idempotency-Key" = Option<String>, Header, description = "Same key and same fields: the same task.")),
    request_body = CreateTaskSchema,
    responses(
        (status = 202, body = AcceptedTask, description = "Committed.", headers(
            ("Location" = String, description = "`check_status_url`."),
        )),
        (status = 409, description = "The idempotency key was used for other fields."),
        (status = 507, description = "There is no room for more videos."), Refusals,
    )
)]
pub async fn create(
    State(app): State<App>,
    dialect: Dialect,
    Writer(caller): Writer,
    request: Request,
) -> Result<Response, ApiError> {
    let again = Again::of(request.headers())?;
    let (members, _held) = decode(&app, request).await?;
    let wish = Wish::read(&app, dialect, members)?;
    let made = make(&app, &caller, &wish.fields, again).await.map_err(|error| wish.in_its_words(error))?;
    let video = wire::show(&app, &made.job).await?;
    let (task, created) = (task_id(made.job.record.job), made.job.record.created_at);
    let left = video.eta_seconds.map(Duration::from_secs);
    let check_status_url = format!("{}/videos/generations/tasks/{task}", dialect.prefix());
    let location = HeaderValue::from_str(&check_status_url);
    let body = AcceptedTask {
        task_id: task,
        status: TaskState::of(dialect, &made.job.record.state).word(),
        created_at: dialect.time(created),
        estimated_completion_time: dialect.time(left.map_or(created + USUAL, |left| app.clock.now() + left)),
        check_status_url,
        ignored_parameters: wish.ignored,
    };
    let mut response = dialect.answer(StatusCode::ACCEPTED, &body);
    let headers = response.headers_mut();
    headers.extend(location.ok().map(|location| (LOCATION, location)));
    if made.replayed {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The members, and the room of the bytes they came from.
async fn decode(app: &App, request: Request) -> Result<(Members, body::Held), ApiError> {
    let (parts, body) = request.into_parts();
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let message = "send application/json, and say so in Content-Type";
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType, message));
    }
    let held = body::read(app, body, app.limits.max_create_json_bytes()).await?;
    Ok((Members::of_body(Node::from_json(&held.bytes)?)?, held))
}
