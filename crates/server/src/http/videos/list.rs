//! `GET /v1/videos`: a page of videos.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use longtake_core::state::Status;
use longtake_core::store::ListFilter;
use serde::Serialize;
use utoipa::ToSchema;

use super::wire::{self, Video};
use crate::app::App;
use crate::http::auth::Reader;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::http::node::integer_text;
use crate::http::query::Query;

/// Entries on a page where no number is asked for.
pub const DEFAULT_LIMIT: usize = 20;
/// Most entries on a page.
const MAX_LIMIT: usize = 100;

/// A page of videos.
#[derive(Debug, Serialize, ToSchema)]
pub struct VideoList {
    /// Always `list`.
    #[schema(value_type = String, example = "list")]
    pub object: &'static str,
    /// The videos.
    pub data: Vec<Video>,
    /// The first of them.
    pub first_id: Option<String>,
    /// The last of them: `after` of the next page.
    pub last_id: Option<String>,
    /// There is another page.
    pub has_more: bool,
}

/// Lists videos, newest first.
#[utoipa::path(
    get, path = "/v1/videos", operation_id = "list_videos", tag = "videos",
    params(
        ("after" = Option<String>, Query, description = "Begin behind this video."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 if absent.", minimum = 1, maximum = 100),
        ("order" = Option<String>, Query, description = "`desc` (default) or `asc`."),
        ("status" = Option<String>, Query, description = "`queued`, `in_progress`, `completed` or `failed`."),
        ("model" = Option<String>, Query, description = "A public model name."),
        ("metadata[k]" = Option<String>, Query, description = "Only videos whose metadata has this value under k; repeatable with other keys."),
    ),
    responses(
        (status = 200, body = VideoList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
    )
)]
pub async fn list(State(app): State<App>, Reader(caller): Reader, query: Query) -> Result<Json<VideoList>, ApiError> {
    let filter = filter(query)?;
    let page = app.store.list(caller.project, filter).await?.ok_or_else(unknown_after)?;
    let mut data = Vec::with_capacity(page.jobs.len());
    for job in &page.jobs {
        data.push(wire::show(&app, job).await?);
    }
    Ok(Json(VideoList {
        object: "list",
        first_id: data.first().map(|video| video.id.clone()),
        last_id: data.last().map(|video| video.id.clone()),
        has_more: page.has_more,
        data,
    }))
}

fn filter(mut query: Query) -> Result<ListFilter, ApiError> {
    let after = match query.take("after") {
        Some(text) => Some(text.parse().map_err(|_| unknown_after())?),
        None => None,
    };
    let limit = query.take("limit").map_or(Ok(DEFAULT_LIMIT), |text| limit(&text))?;
    let ascending = match query.take("order").as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(ApiError::about("order", ErrorCode::InvalidValue, "must be asc or desc")),
    };
    let status = query.take("status").map(|word| status(&word)).transpose()?;
    let model = query.take("model");
    let metadata: BTreeMap<String, String> = query.take_members("metadata").into_iter().collect();
    query.done("after, limit, order, status, model and metadata[key]")?;
    let texts = model.iter().chain(metadata.keys()).chain(metadata.values());
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(ApiError::new(ErrorCode::InvalidValue, "a filter holds a NUL character; remove it"));
    }
    Ok(ListFilter { after, ascending, limit, status, model, metadata })
}

/// How many entries a page shall have.
///
/// # Errors
/// `invalid_limit` unless it is 1 to 100.
pub fn limit(text: &str) -> Result<usize, ApiError> {
    let limit = integer_text(text).and_then(|number| usize::try_from(number).ok());
    limit
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| ApiError::about("limit", ErrorCode::InvalidLimit, "must be a whole number from 1 to 100"))
}

fn status(word: &str) -> Result<Status, ApiError> {
    [Status::Queued, Status::InProgress, Status::Completed, Status::Failed]
        .into_iter()
        .find(|status| status.word() == word)
        .ok_or_else(|| {
            ApiError::about("status", ErrorCode::InvalidValue, "must be queued, in_progress, completed or failed")
        })
}

fn unknown_after() -> ApiError {
    ApiError::about(
        "after",
        ErrorCode::InvalidAfter,
        "there is no video with this id; take `last_id` of the page before",
    )
}
