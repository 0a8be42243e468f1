//! `/v1/api_keys`: makes, lists and revokes API keys. A key is shown once and stored as its SHA-256.

use axum::Json;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use longtake_core::store::ApiKey;
use longtake_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::{Admin, DEFAULT_PROJECT, Scope, key_hash};
use super::body;
use super::error::{ApiError, ErrorBody, ErrorCode};
use super::node::{Members, Node, wrong_type};
use super::videos::path::Name;
use crate::app::App;

/// Longest name of a key or project, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The members of a new key, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(as = CreateApiKey)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded strictly by hand")]
pub struct CreateKeySchema {
    /// What people call it, to 64 characters.
    name: String,
    /// The project whose videos it sees; made where it is new. `default` if absent.
    project: Option<String>,
    /// Some of `read`, `write`, `admin`; `read` and `write` if absent.
    scopes: Option<Vec<String>>,
}

/// One API key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub struct KeyBody {
    /// `key_` and a number.
    pub id: String,
    /// Always `api_key`.
    #[schema(value_type = String, example = "api_key")]
    pub object: &'static str,
    /// What people call it.
    pub name: String,
    /// Number of the project whose videos it sees.
    pub project_id: i64,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds, if it was revoked.
    pub revoked_at: Option<i64>,
    /// The key itself: only in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// All keys, revoked ones too.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    /// Always `list`.
    #[schema(value_type = String, example = "list")]
    pub object: &'static str,
    /// The keys.
    pub data: Vec<KeyBody>,
}

/// The receipt of a revocation.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedKey {
    /// Which.
    pub id: String,
    /// Always `api_key.deleted`.
    #[schema(value_type = String, example = "api_key.deleted")]
    pub object: &'static str,
    /// Always true.
    pub deleted: bool,
}

/// Makes a key. It is shown in this answer only.
#[utoipa::path(
    post, path = "/v1/api_keys", operation_id = "create_api_key", tag = "api keys",
    request_body = CreateKeySchema,
    responses(
        (status = 201, body = KeyBody), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 415, body = ErrorBody),
    )
)]
pub async fn create(
    State(app): State<App>,
    _caller: Admin,
    request: Request,
) -> Result<(StatusCode, Json<KeyBody>), ApiError> {
    let mut members = json_members(&app, request).await?;
    let name = members
        .text("name")?
        .ok_or_else(|| ApiError::about("name", ErrorCode::MissingParameter, "give the key a name, to know it by"))?;
    let project = members.text("project")?;
    let scopes = members.take("scopes").map_or_else(|| Ok(default_scopes()), scopes)?;
    members.done("")?;
    let name = checked_name("name", name)?;
    let project = match project {
        Some(project) => app.store.project(&checked_name("project", project)?).await?,
        None => DEFAULT_PROJECT,
    };
    let mut secret = [0; 32];
    app.random.fill(&mut secret);
    let key = format!("lt_{}", URL_SAFE_NO_PAD.encode(secret));
    let (hash, created_at) = (key_hash(&key), app.clock.now());
    let stored =
        app.store.create_key(ApiKey { id: 0, name, project, hash, scopes, created_at, revoked_at: None }).await?;
    Ok((StatusCode::CREATED, Json(KeyBody { key: Some(key), ..shown(stored) })))
}

/// Lists all keys, without the keys themselves.
#[utoipa::path(
    get, path = "/v1/api_keys", operation_id = "list_api_keys", tag = "api keys",
    responses((status = 200, body = KeyList), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody))
)]
pub async fn list(State(app): State<App>, _caller: Admin) -> Result<Json<KeyList>, ApiError> {
    Ok(Json(KeyList { object: "list", data: app.store.keys().await?.into_iter().map(shown).collect() }))
}

/// Revokes a key, here at once and on every other node within seconds.
#[utoipa::path(
    delete, path = "/v1/api_keys/{id}", operation_id = "delete_api_key", tag = "api keys",
    params(("id" = String, Path, description = "`key_` and a number.")),
    responses(
        (status = 200, body = DeletedKey), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn delete(State(app): State<App>, _caller: Admin, Name(id): Name) -> Result<Json<DeletedKey>, ApiError> {
    let unknown =
        || ApiError::new(ErrorCode::ApiKeyNotFound, "there is no key with this id; list them with GET /v1/api_keys");
    let id = id.ok_or_else(unknown)?;
    let number = id.strip_prefix("key_").and_then(super::node::integer_text).ok_or_else(unknown)?;
    if !app.store.revoke_key(number).await? {
        return Err(unknown());
    }
    app.memory.keys.forget();
    Ok(Json(DeletedKey { id, object: "api_key.deleted", deleted: true }))
}

fn shown(key: ApiKey) -> KeyBody {
    KeyBody {
        id: format!("key_{}", key.id),
        object: "api_key",
        name: key.name,
        project_id: key.project.0,
        scopes: key.scopes,
        created_at: key.created_at.as_secs(),
        revoked_at: key.revoked_at.map(Timestamp::as_secs),
        key: None,
    }
}

fn default_scopes() -> Vec<String> {
    [Scope::Read, Scope::Write].map(|scope| scope.word().to_owned()).to_vec()
}

fn scopes(node: Node) -> Result<Vec<String>, ApiError> {
    let Node::List(items) = node else { return Err(wrong_type("scopes", "a list of strings")) };
    let mut words: Vec<String> = Vec::new();
    for item in items {
        let word = item.into_text("scopes")?;
        let known = Scope::ALL.iter().any(|scope| scope.word() == word) && !words.contains(&word);
        if !known {
            return Err(ApiError::about(
                "scopes",
                ErrorCode::InvalidValue,
                "must be some of read, write and admin, each once",
            ));
        }
        words.push(word);
    }
    if words.is_empty() {
        return Err(ApiError::about(
            "scopes",
            ErrorCode::InvalidValue,
            "a key without scopes can do nothing; leave it out for read and write",
        ));
    }
    Ok(words)
}

fn checked_name(param: &str, name: String) -> Result<String, ApiError> {
    let fits = !name.trim().is_empty() && name.chars().count() <= MAX_NAME_CHARS && !name.chars().any(char::is_control);
    if fits {
        return Ok(name);
    }
    Err(ApiError::about(
        param,
        ErrorCode::InvalidValue,
        "must have 1 to 64 characters, not blank, no control characters",
    ))
}

/// The members of a JSON body.
///
/// # Errors
/// `unsupported_media_type`, or as the body is at fault.
pub async fn json_members(app: &App, request: Request) -> Result<Members, ApiError> {
    let (parts, body) = request.into_parts();
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let message = "send application/json, and say so in Content-Type";
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType, message));
    }
    let held = body::read(app, body, app.limits.max_body_bytes).await?;
    Members::of_body(Node::from_json(&held.bytes)?)
}

/// The same, where the whole body may be left out.
///
/// # Errors
/// As [`json_members`].
pub async fn optional_members(app: &App, request: Request) -> Result<Members, ApiError> {
    if request.body().size_hint().exact() == Some(0) {
        return Ok(Members::of(Vec::new()));
    }
    json_members(app, request).await
}
