//! What answers mean, apart from errors: pure, so that every byte a server may send can be tried.

use std::time::Duration;

use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::ProviderJobId;
use longtake_core::provider::{Output, ProviderError, ProviderState, ProviderStatus};
use serde_json::Value;

use super::errors::{failed_video, refused_reading, refused_submission};
use super::wire::{ErrorWords, Page, Video, VideoStatus, text, whole};
use crate::http::Answer;

/// What a source of an output begins with when it is to be fetched from the server's `/content`.
pub(super) const CONTENT: &str = "content:";

/// The answer to a create.
///
/// # Errors
/// As rule R9 demands: a definite refusal, or unknown.
pub fn submission(answer: &Answer, clean: &dyn Fn(&str) -> String) -> Result<ProviderJobId, ProviderError> {
    if !answer.is_success() {
        return Err(refused_submission(answer, clean));
    }
    let video: Video =
        serde_json::from_slice(&answer.body).map_err(|error| answer.unknown(&format!("no video: {error}")))?;
    video_id(&video).ok_or_else(|| answer.unknown("a video without a usable id"))
}

/// The id of a video, if it can be asked for again.
pub(super) fn video_id(video: &Video) -> Option<ProviderJobId> {
    // A list or an error with an id is not a video.
    if matches!(text(video.object.as_ref()), Some("error" | "list")) {
        return None;
    }
    // In a path, these two would name something else.
    let id = text(video.id.as_ref()).filter(|id| !matches!(*id, "." | ".."))?;
    ProviderJobId::new(id)
}

/// The answer to a retrieve.
///
/// The body counts before the HTTP status: vLLM-Omni answers for a failed job with the job's own error status and the
/// whole video as body. Who reads the status first polls a dead job for ever.
///
/// # Errors
/// Whatever is no video; it proves nothing about the job.
pub fn status(
    answer: &Answer,
    job: &ProviderJobId,
    clean: &dyn Fn(&str) -> String,
) -> Result<ProviderStatus, ProviderError> {
    let video = serde_json::from_slice::<Video>(&answer.body).ok();
    let named = video.as_ref().is_some_and(|video| text(video.object.as_ref()) == Some("video"));
    // Servers that leave `object` out are believed only where the HTTP status agrees.
    let video = video.filter(|video| named || (answer.is_success() && video.id.is_some() && video.object.is_none()));
    let Some(video) = video.filter(|video| video.status.is_some()) else {
        return match answer.status {
            404 | 410 => Ok(ProviderStatus { state: ProviderState::NotFound, progress: None, retry_after: None }),
            200..=299 => Err(answer.unknown("no video")),
            _ => Err(refused_reading(answer)),
        };
    };
    let state = match video.status.unwrap_or(VideoStatus::Unknown) {
        VideoStatus::Completed => ProviderState::Done(vec![output(&video, job)]),
        VideoStatus::Failed => {
            let words = video.error.as_ref().map(ErrorWords::of).unwrap_or_default();
            ProviderState::Failed(failed_video(&words, clean))
        }
        VideoStatus::Cancelled => ProviderState::Failed(Failure::new(
            FailureCode::ProviderError,
            "the provider says that it was canceled there",
        )),
        VideoStatus::Expired => {
            ProviderState::Failed(Failure::new(FailureCode::ExpiredUpstream, "the provider let the job expire"))
        }
        // A new word must not lose a paid video: keep polling.
        VideoStatus::Queued | VideoStatus::InProgress | VideoStatus::Unknown => ProviderState::Pending,
    };
    let retry_after = answer.retry_after.max(answer.poll_after).filter(|wait| *wait > Duration::ZERO);
    Ok(ProviderStatus { state, progress: progress(&video), retry_after })
}

/// 1 to 100. Many servers report 0 until the end because they have no figure: that is none, not a figure.
fn progress(video: &Video) -> Option<u8> {
    whole(video.progress.as_ref())
        .and_then(|percent| u8::try_from(percent).ok())
        .filter(|percent| (1..=100).contains(percent))
}

/// `url` first: SGLang with cloud storage has no `/content`.
fn output(video: &Video, job: &ProviderJobId) -> Output {
    let first = video.urls.as_ref().and_then(|urls| urls.get(0));
    let places = [video.url.as_ref(), video.video_url.as_ref(), first];
    let absolute = |url: &&str| url.starts_with("https://") || url.starts_with("http://");
    let url = places.into_iter().filter_map(text).find(absolute);
    let source = url.map_or_else(|| format!("{CONTENT}{job}"), str::to_owned);
    Output { source: source.into(), media_type: "video/mp4".into() }
}

/// The answer to a list.
///
/// # Errors
/// Whatever is no list.
pub fn page(answer: &Answer) -> Result<Page, ProviderError> {
    if !answer.is_success() {
        return Err(refused_reading(answer));
    }
    serde_json::from_slice(&answer.body).map_err(|error| answer.unknown(&format!("no list: {error}")))
}

/// The answer to a delete that was meant as a cancel: whether the video is gone.
///
/// # Errors
/// Whatever does not say so. 409 means "not yet": the engine asks again.
pub fn deletion(answer: &Answer) -> Result<(), ProviderError> {
    if !answer.is_success() {
        return Err(refused_reading(answer));
    }
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(body) if body.get("deleted").and_then(Value::as_bool) == Some(false) => Err(answer.unknown("not deleted")),
        _ => Ok(()),
    }
}

/// The URL in a refusal's text: SGLang's `/content` says where the file lies instead of giving it.
pub fn url_in_refusal(answer: &Answer) -> Option<String> {
    let text = String::from_utf8_lossy(&answer.body);
    let start = text.find("https://").or_else(|| text.find("http://"))?;
    let url = &text[start..];
    let end = url.find(|c: char| c.is_whitespace() || "\"'<>\\".contains(c)).unwrap_or(url.len());
    Some(url[..end].trim_end_matches(['.', ',', ')']).to_owned())
}
