//! Decoded members → a request that every route of its model can serve, before anything is paid.

use longtake_core::artifact::{ArtifactKey, Digest};
use longtake_core::id::ProjectId;
use longtake_core::provider::{InputSupport, ModelCapabilities};
use longtake_core::request::{InputImage, Size, SourceKind, VideoRequest};

use super::cost::within_limit;
use super::fields::{CreateFields, InputReference};
use super::source;
use crate::app::{App, Model};
use crate::http::auth::sha256;
use crate::http::body::Held;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::files;

/// The member that an upload comes in.
const UPLOAD: &str = "input_reference";

/// A request that every route of its model can serve, within its limit on cost. Nothing of it is stored yet.
pub struct Checked {
    /// The request.
    pub request: VideoRequest,
    /// The bytes of its input image.
    image: Option<Held>,
}

impl Checked {
    /// Asks the routes about a request without an input image.
    ///
    /// # Errors
    /// `unsupported_by_model`, `max_cost_exceeded`.
    pub fn without_image(app: &App, request: VideoRequest) -> Result<Self, ApiError> {
        app.models.check(&request, &app.accounts)?;
        within_limit(app, &request)?;
        Ok(Self { request, image: None })
    }

    /// The same for one whose input image has these bytes.
    ///
    /// # Errors
    /// As [`Checked::without_image`].
    pub fn with_image(app: &App, request: VideoRequest, image: Held) -> Result<Self, ApiError> {
        Ok(Self { image: Some(image), ..Self::without_image(app, request)? })
    }
}

/// Checks the members against their model, fetches and stores the input image.
///
/// # Errors
/// Names the member at fault. Nothing is kept but an image that a sweep removes if no video refers to it.
pub async fn accept(app: &App, project: ProjectId, fields: &CreateFields) -> Result<VideoRequest, ApiError> {
    let Checked { mut request, image } = check(app, project, fields).await?;
    if let Some(wish) = &fields.webhook {
        request.webhook = Some(wish.order(app, project).await?);
    }
    if let (Some(input), Some(held)) = (&request.input, image) {
        keep(app, &input.key, &held).await?;
    }
    Ok(request)
}

/// Checks the members against their model and fetches the input image. Nothing is kept.
///
/// # Errors
/// Names the member at fault.
pub async fn check(app: &App, project: ProjectId, fields: &CreateFields) -> Result<Checked, ApiError> {
    fields.webhook.as_ref().map_or(Ok(()), |wish| wish.check(app))?;
    if let Some((video, SourceKind::Remix)) = fields.source {
        return source::remix(app, project, fields, video).await;
    }
    let name = fields.model.as_deref().unwrap_or_else(|| app.models.default_name());
    let Some(model) = app.models.get(name) else {
        let message = "this model is not on offer; list what is with GET /v1/models";
        return Err(ApiError::about("model", ErrorCode::UnknownModel, message));
    };
    let mut request = shaped(model, fields)?;
    check_input(model, fields.input.as_ref())?;
    // What needs no picture is checked before one is fetched.
    let Some(input) = &fields.input else { return Checked::without_image(app, request) };
    let (image, held) = look_at(app, project, input).await?;
    request.input = Some(image);
    Checked::with_image(app, request, held)
}

fn shaped(model: &Model, fields: &CreateFields) -> Result<VideoRequest, ApiError> {
    let accepts = &model.accepts;
    let unsupported = |param: &str, message: String| ApiError::about(param, ErrorCode::UnsupportedByModel, message);
    let seconds = fields.seconds.unwrap_or(accepts.default_seconds);
    if !accepts.seconds.is_empty() && !accepts.seconds.contains(&seconds) {
        return Err(unsupported("seconds", format!("{} takes {}", model.name, words(&accepts.seconds))));
    }
    let size = match &fields.size {
        None => accepts.default_size,
        Some(text) => {
            text.parse::<Size>().map_err(|error| ApiError::about("size", ErrorCode::InvalidValue, error.to_string()))?
        }
    };
    if !accepts.sizes.is_empty() && !accepts.sizes.contains(&size) {
        return Err(unsupported("size", format!("{} takes {}", model.name, words(&accepts.sizes))));
    }
    check_prompt(&model.name, accepts, &fields.prompt)?;
    Ok(VideoRequest {
        prompt: fields.prompt.as_str().into(),
        model: model.name.as_str().into(),
        seconds,
        size,
        input: None,
        metadata: fields.metadata.clone(),
        priority: fields.priority.unwrap_or(0),
        provider_options: fields.provider_options.as_deref().map(Into::into),
        webhook: None,
        source: None,
        max_cost_usd_micros: fields.max_cost_usd_micros,
    })
}

/// Whether a model takes a prompt of this length.
///
/// # Errors
/// `prompt_too_long`.
pub fn check_prompt(model: &str, accepts: &ModelCapabilities, prompt: &str) -> Result<(), ApiError> {
    let longest = accepts.max_prompt_chars;
    if prompt.chars().count() > longest {
        let message = format!("{model} takes prompts of at most {longest} characters; shorten it");
        return Err(ApiError::about("prompt", ErrorCode::PromptTooLong, message));
    }
    Ok(())
}

fn words<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn check_input(model: &Model, input: Option<&InputReference>) -> Result<(), ApiError> {
    match (model.accepts.input_image, input) {
        (InputSupport::No, Some(_)) => {
            let message = format!("{} takes no input image; remove it or choose another model", model.name);
            Err(ApiError::about(UPLOAD, ErrorCode::UnsupportedByModel, message))
        }
        (InputSupport::Required, None) => {
            let message = format!("{} needs an input image", model.name);
            Err(ApiError::about(UPLOAD, ErrorCode::MissingParameter, message))
        }
        _ => Ok(()),
    }
}

async fn look_at(app: &App, project: ProjectId, input: &InputReference) -> Result<(InputImage, Held), ApiError> {
    let (param, held) = match input {
        InputReference::Url(url) => (crate::http::inputs::PARAM, app.inputs.fetch(app, url).await?),
        InputReference::Bytes(bytes) => (UPLOAD, Held::from(bytes.clone())),
        InputReference::File(file) => (files::PARAM, files::read(app, project, *file).await?),
    };
    Ok((looked_at(app, project, param, &held)?, held))
}

/// What an input image is, by its bytes.
///
/// # Errors
/// `input_image_too_large` or `input_image_invalid`, naming `param`.
pub fn looked_at(app: &App, project: ProjectId, param: &str, held: &Held) -> Result<InputImage, ApiError> {
    let bytes = &held.bytes;
    if bytes.len() > app.limits.max_input_image_bytes {
        return Err(image_too_large(param, app.limits.max_input_image_bytes));
    }
    let Some(media_type) = longtake_media::sniff_image(bytes) else {
        let message = "the bytes are no PNG, JPEG or WebP image; convert it";
        return Err(ApiError::about(param, ErrorCode::InputImageInvalid, message));
    };
    let sha256 = Digest(sha256(bytes));
    let key = ArtifactKey::input(project, &sha256);
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok(InputImage { key, media_type: media_type.into(), bytes: length, sha256 })
}

/// The image is over the limit.
pub fn image_too_large(param: &str, limit: usize) -> ApiError {
    ApiError::about(
        param,
        ErrorCode::InputImageTooLarge,
        format!("the image has more than {limit} bytes; make it smaller"),
    )
}

/// Stores an image before its job exists. The key is its digest, so what is there already is the same; it is written all
/// the same: only a young object is safe from the sweep until a job names it.
///
/// # Errors
/// As the artifact store.
pub async fn keep(app: &App, key: &ArtifactKey, held: &Held) -> Result<(), ApiError> {
    let mut writer = app.artifacts.writer(key).await?;
    writer.write(held.bytes.clone()).await?;
    Ok(writer.finish().await?)
}
