//! Results: opened, never read whole; redirects by hand, each address checked, the key for its own origin only.

use futures::{StreamExt, TryStreamExt};
use http::header;
use longtake_core::provider::{Call, Fetched, ProviderError};
use reqwest::{Client, Response, Url};

use super::guard::{Reach, literal};
use super::{Answer, Http, Recorder, Seen, judge, judge_late, read_body};

/// Most redirects followed on the way to one result.
const MAX_REDIRECTS: usize = 5;
/// Longest refusal that is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// What stands at a result's address.
pub(crate) enum Opened {
    /// The bytes.
    Bytes(Fetched),
    /// A refusal.
    Refused(Answer),
}

/// What a refusal to hand out a result means where the provider has no words of its own for it.
pub(crate) fn refused(answer: &Answer) -> ProviderError {
    match answer.status {
        // Signed links that have run out answer 400, 401 or 403, depending on the storage.
        400 | 401 | 403 | 404 | 410 => ProviderError::Gone,
        429 => ProviderError::RateLimited { retry_after: answer.retry_after },
        _ => answer.unknown("no result"),
    }
}

impl Http {
    /// Opens an address for reading from its first byte.
    pub(crate) async fn open(&self, call: &Call, start: Url) -> Result<Opened, ProviderError> {
        let mut url = start;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.open_one(call, &url).await?;
            let next = match response.headers().get(header::LOCATION) {
                Some(location) if response.status().is_redirection() => location,
                _ => return self.opened(response).await,
            };
            let next = next.to_str().ok().and_then(|location| url.join(location).ok());
            let next = next.ok_or_else(|| unusable("a redirect to what is no URL"))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(unusable("a redirect from https to an unprotected address"));
            }
            url = next;
        }
        Err(unusable("too many redirects"))
    }

    async fn open_one(&self, call: &Call, url: &Url) -> Result<Response, ProviderError> {
        let own = url.origin() == self.base.origin();
        let client = if own { &self.made.reads } else { self.guarded(url).await? };
        let mut request = client.get(url.clone()).header(header::ACCEPT_ENCODING, "identity");
        if own {
            request = self.with_key(request);
        }
        let recorder = Recorder::start(self, "fetch", &http::Method::GET, url, None);
        let answered = request.send().await.map_err(judge);
        match &answered {
            Ok(response) => recorder.opened(call, response.status().as_u16(), response.content_length()),
            Err(error) => recorder.failed(call, error),
        }
        answered
    }

    /// The client for an address that is not the account's own.
    async fn guarded(&self, url: &Url) -> Result<&Client, ProviderError> {
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(unusable("a result at something other than a plain http or https address"));
        }
        let reach = self.reach().await;
        if let Some(address) = literal(url)
            && !reach.allows(address)
        {
            return Err(unusable("a result at an address it may not come from"));
        }
        let guarded = self.made.results.iter().find(|(of, _)| *of == reach);
        guarded.map(|(_, client)| client).ok_or_else(|| unusable("no client for this address"))
    }

    async fn reach(&self) -> Reach {
        if let Some(address) = literal(&self.base) {
            return Reach::of([address]);
        }
        let (Some(host), Some(port)) = (self.base.host_str(), self.base.port_or_known_default()) else {
            return Reach::Public;
        };
        match tokio::net::lookup_host((host, port)).await {
            Ok(addresses) => Reach::of(addresses.map(|address| address.ip())),
            Err(_) => Reach::Public,
        }
    }

    async fn opened(&self, response: Response) -> Result<Opened, ProviderError> {
        let mut answer = Answer::read_headers(response.status(), response.headers(), self.clock.now());
        if answer.status != 200 {
            answer.body = read_body(response, MAX_REFUSAL_BYTES).await?;
            return Ok(Opened::Refused(answer));
        }
        let media_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if media_type.is_some_and(|media_type| media_type.starts_with("text/html")) {
            // A gateway's or a captive portal's page: the video is still where it was.
            return Err(answer.unknown("a page instead of a video"));
        }
        let length = response.content_length();
        let stream = response.bytes_stream().map_err(judge_late).boxed();
        Ok(Opened::Bytes(Fetched { stream, length }))
    }
}

fn unusable(what: &str) -> ProviderError {
    ProviderError::Unknown { source: Seen(what.to_owned()).into(), retry_after: None }
}
