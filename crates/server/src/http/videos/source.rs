//! A video made of an older one: the older one's settings, a new prompt, and whoever made the older one.
//!
//! Nobody else knows that video, so all attempts go to its account. Some providers know it by their own name for it; others
//! start from a picture of it, which becomes the input image. Absent: edits and extensions, which nobody here can.

use longtake_core::id::{JobId, ProjectId};
use longtake_core::provider::{ModelCapabilities, RemixSupport};
use longtake_core::request::{Source, SourceKind, VideoRequest};
use longtake_core::state::StateName;
use longtake_core::store::Job;

use super::accept::{Checked, check_prompt, looked_at};
use super::content::no_bytes;
use super::fields::CreateFields;
use super::pictures::{PictureKind, picture};
use crate::app::App;
use crate::http::body::Held;
use crate::http::error::{ApiError, ErrorCode};

/// The source of a create that names one, in the caller's project.
///
/// # Errors
/// `video_not_found`, `video_not_ready`, `content_expired`, or `unsupported_by_model` where its model cannot.
pub async fn remix(app: &App, project: ProjectId, fields: &CreateFields, video: JobId) -> Result<Checked, ApiError> {
    let job = app.store.get(project, video).await?.ok_or_else(ApiError::video_not_found)?;
    if job.record.state.name() != StateName::Completed {
        return Err(no_bytes(app, &job));
    }
    let (source, capabilities) = source_of(app, &job)?;
    check_prompt(&job.request.model, &capabilities, &fields.prompt)?;
    let mut request = VideoRequest {
        prompt: fields.prompt.as_str().into(),
        input: None,
        metadata: fields.metadata.clone(),
        priority: fields.priority.unwrap_or(0),
        // A provider that knows the video knows how it was made.
        provider_options: job.request.provider_options.clone().filter(|_| source.provider_job.is_none()),
        max_cost_usd_micros: fields.max_cost_usd_micros,
        webhook: None, // the source's is not taken over; `accept` gives it its own
        source: Some(source),
        ..VideoRequest::clone(&job.request)
    };
    if capabilities.remix == RemixSupport::ByJob {
        return Checked::without_image(app, request);
    }
    let Some(output) = &job.output else { return Err(no_bytes(app, &job)) };
    let bytes = picture(app, output, PictureKind::Thumbnail).await.map_err(|error| match error.code() {
        ErrorCode::VariantUnavailable => unsupported(&job.request.model, "of this video: it cannot be decoded here"),
        _ => error,
    })?;
    let held = Held::from(bytes);
    request.input = Some(looked_at(app, project, "prompt", &held)?);
    Checked::with_image(app, request, held)
}

/// Who made the video and by what name they know it, and what their model can.
fn source_of(app: &App, job: &Job) -> Result<(Source, ModelCapabilities), ApiError> {
    let name = &job.request.model;
    let made_by = job.record.attempt.as_ref().and_then(|attempt| {
        let model = app.models.get(name)?;
        model.routes.iter().find(|route| route.account == attempt.account)?;
        let provider = &app.accounts.get(&attempt.account)?.provider;
        Some((attempt, provider.capabilities(attempt.account, &attempt.model)?))
    });
    let Some((attempt, capabilities)) = made_by else {
        return Err(unsupported(name, "any more of this video: who made it is not on offer"));
    };
    let provider_job = match capabilities.remix {
        RemixSupport::No => return Err(unsupported(name, "of videos")),
        RemixSupport::FromPicture => None,
        RemixSupport::ByJob => match &attempt.provider_job {
            Some(provider_job) => Some(provider_job.clone()),
            None => return Err(unsupported(name, "of this video: its provider's name for it is not known")),
        },
    };
    let source = Source { video: job.record.job, kind: SourceKind::Remix, account: attempt.account, provider_job };
    Ok((source, capabilities))
}

fn unsupported(model: &str, of_what: &str) -> ApiError {
    let message = format!("{model} makes no remixes {of_what}; create a new video instead");
    ApiError::new(ErrorCode::UnsupportedByModel, message)
}
