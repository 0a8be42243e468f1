//! Fetches input images that clients name by URL, without becoming a way into the operator's network.
//!
//! What may be connected to is the [`Guard`]'s. Redirects are followed by hand, each hop checked alike.

use futures::StreamExt;
use http::StatusCode;
use http::header::LOCATION;
use reqwest::{Client, Url};

use super::body::{Gathering, Held};
use super::error::{ApiError, ErrorCode};
use super::network::Network;
use crate::app::App;
use crate::guard::{Guard, Refused};

/// Redirects followed for one image.
const MAX_REDIRECTS: usize = 3;
/// Longest URL, in bytes.
const MAX_URL_BYTES: usize = 8_192;

/// The member an error names.
pub const PARAM: &str = "input_reference.image_url";

/// Fetches input images.
pub struct InputFetcher {
    client: Client,
    guard: Guard,
}

impl InputFetcher {
    /// A fetcher for public addresses and these networks.
    ///
    /// # Errors
    /// Where the HTTP client cannot be made, such as without usable TLS roots.
    pub fn new(allow: Vec<Network>) -> Result<Self, reqwest::Error> {
        let guard = Guard::new(allow);
        Ok(Self { client: guard.client().build()?, guard })
    }

    /// Fetches an image of at most the configured size.
    ///
    /// # Errors
    /// `input_url_refused`, `input_url_unreachable`, `input_image_too_large` or `invalid_value`, naming the member;
    /// `overloaded` where too many bodies are in memory.
    pub async fn fetch(&self, app: &App, url: &str) -> Result<Held, ApiError> {
        let late = app.clock.sleep(app.limits.fetch_timeout);
        tokio::select! {
            image = self.follow(app, url) => image,
            () = late => Err(unreachable_url("the image was not there in time")),
        }
    }

    async fn follow(&self, app: &App, url: &str) -> Result<Held, ApiError> {
        if url.len() > MAX_URL_BYTES {
            return Err(ApiError::about(PARAM, ErrorCode::InvalidValue, "the URL is too long"));
        }
        let parse = |_| ApiError::about(PARAM, ErrorCode::InvalidValue, "must be an http, https or data URL");
        let mut url = Url::parse(url).map_err(parse)?;
        for _ in 0..=MAX_REDIRECTS {
            self.look_at(&url)?;
            let response = self.client.get(url.clone()).send().await.map_err(|error| explain(&error))?;
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
                let target = target.ok_or_else(|| unreachable_url("the server redirects to nowhere"))?;
                url = url.join(target).map_err(|_| unreachable_url("the server redirects to no URL"))?;
                continue;
            }
            if status != StatusCode::OK {
                return Err(unreachable_url(&format!("the server of the image answered {}", status.as_u16())));
            }
            return read(app, response).await;
        }
        Err(unreachable_url("too many redirects"))
    }

    /// Literal addresses never pass the resolver.
    fn look_at(&self, url: &Url) -> Result<(), ApiError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ApiError::about(PARAM, ErrorCode::InputUrlRefused, "must be an http, https or data URL"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ApiError::about(PARAM, ErrorCode::InputUrlRefused, "a URL with a user name is not fetched"));
        }
        if self.guard.refuses_literal(url) { Err(refused()) } else { Ok(()) }
    }
}

async fn read(app: &App, response: reqwest::Response) -> Result<Held, ApiError> {
    let limit = app.limits.max_input_image_bytes;
    let too_large = || super::videos::accept::image_too_large(PARAM, limit);
    if response.content_length().is_some_and(|length| usize::try_from(length).unwrap_or(usize::MAX) > limit) {
        return Err(too_large());
    }
    let mut image = Gathering::default();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| explain(&error))?;
        if image.len_with(chunk.len()) > limit {
            return Err(too_large());
        }
        image.add(app, &chunk)?;
    }
    Ok(image.done())
}

fn explain(error: &reqwest::Error) -> ApiError {
    if Refused::is_behind(error) {
        return refused();
    }
    unreachable_url("the server of the image could not be reached or broke off")
}

fn refused() -> ApiError {
    let message = "images are fetched from public addresses only; send the bytes instead, or ask the operator to allow the network";
    ApiError::about(PARAM, ErrorCode::InputUrlRefused, message)
}

fn unreachable_url(why: &str) -> ApiError {
    ApiError::about(PARAM, ErrorCode::InputUrlUnreachable, format!("{why}; check the URL or send the bytes instead"))
}
