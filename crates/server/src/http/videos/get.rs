//! `GET /v1/videos/{id}`: one video, at once or when it has news.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue};
use longtake_core::id::JobId;
use longtake_core::store::Job;
use std::time::Duration;

use super::path::VideoId;
use super::wire::{self, Video};
use crate::app::App;
use crate::http::auth::{Caller, Reader};
use crate::http::error::{ApiError, ErrorBody};

/// Longest wait for news, in seconds.
const MAX_WAIT_SECS: u64 = 60;

/// Shows one video. With `Prefer: wait=N` the answer comes when there is news, after N seconds at the latest.
#[utoipa::path(
    get, path = "/v1/videos/{id}", operation_id = "get_video", tag = "videos",
    params(
        ("id" = String, Path, description = "The video."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`, N at most 60: answer early on any news."),
    ),
    responses(
        (status = 200, body = Video, headers(
            ("openai-poll-after-ms" = u64, description = "Milliseconds to wait before asking again."),
            ("Preference-Applied" = String, description = "`wait=N` where it was asked for."),
        )),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
    )
)]
pub async fn get(
    State(app): State<App>,
    Reader(caller): Reader,
    VideoId(id): VideoId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wait = wait_of(&headers);
    let job = match wait {
        None => find(&app, &caller, id).await?,
        Some(seconds) => {
            let mut seen = None;
            let news =
                |job: &Job| job.record.state.is_terminal() || *seen.get_or_insert(job.record.ver) != job.record.ver;
            wait_for(&app, &caller, id, Duration::from_secs(seconds), news).await?
        }
    };
    let mut response = wire::respond(&app, &job).await?.into_response();
    if let Some(seconds) = wait
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={seconds}"))
    {
        response.headers_mut().insert("preference-applied", applied);
    }
    Ok(response)
}

/// One job of the caller's project as soon as it is `enough`, else as it is when the time is over or the server stops.
/// Waiting changes nothing.
///
/// # Errors
/// As [`find`].
pub async fn wait_for(
    app: &App,
    caller: &Caller,
    id: JobId,
    limit: Duration,
    mut enough: impl FnMut(&Job) -> bool,
) -> Result<Job, ApiError> {
    // Subscribed before the first look, so that nothing falls between.
    let mut subscription = app.engine.hub().subscribe(id);
    let late = app.clock.sleep(limit);
    tokio::pin!(late);
    loop {
        let job = find(app, caller, id).await?;
        if enough(&job) {
            return Ok(job);
        }
        tokio::select! {
            () = subscription.changed() => {}
            () = &mut late => return find(app, caller, id).await,
            () = app.stopping.cancelled() => return Ok(job),
        }
    }
}

/// One job of the caller's project.
///
/// # Errors
/// `video_not_found`.
pub async fn find(app: &App, caller: &Caller, id: JobId) -> Result<Job, ApiError> {
    app.store.get(caller.project, id).await?.ok_or_else(ApiError::video_not_found)
}

/// A preference that cannot be understood is none (RFC 7240); a longer wait is cut.
fn wait_of(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split([',', ';'])).map(str::trim);
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
    })?;
    (seconds > 0).then(|| seconds.min(MAX_WAIT_SECS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_preference() {
        for (text, wait) in [
            ("wait=10", Some(10)),
            ("respond-async, wait=5", Some(5)),
            ("Wait = 7", Some(7)),
            ("wait=100", Some(60)),
            ("wait=0", None),
            ("wait=-1", None),
            ("wait=x", None),
            ("", None),
        ] {
            let headers: HeaderMap =
                [(http::HeaderName::from_static("prefer"), HeaderValue::from_static(text))].into_iter().collect();
            assert_eq!(wait_of(&headers), wait, "{text}");
        }
    }
}
