//! Servers that speak the OpenAI Videos shape: gateways, SGLang, vLLM-Omni, and Longtake itself.
//!
//! Create is a form as the official SDKs send it, with our client ref as `Idempotency-Key`; whether a server honours
//! that, stops work or shows prompts in its list is told by the account. What answers mean: [`answers`], [`errors`];
//! how a lost create is found: [`lookup`]. Wire, traps and sources: `README.md`.
//! Absent: thumbnails and sprite sheets of the server (we make our own), callbacks (there are none).

pub mod answers;
mod create;
pub mod errors;
pub mod lookup;
pub mod options;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, ProviderJobId};
use longtake_core::provider::{
    Call, CancelAnswer, CancelSupport, Fetched, FindRequest, Found, InputSupport, Lookup, ModelCapabilities, Output,
    Price, Provider, ProviderError, ProviderProfile, ProviderState, ProviderStatus, RemixSupport, SubmitRequest,
    Unsupported,
};
use longtake_core::request::{Size, VideoRequest};

use crate::account::{AccountConfig, BuildError, ModelLimits};
use crate::http::{Answer, Ask, Clients, Http, Opened, refused};
use crate::registry::ProviderDeps;
use lookup::{MAX_PAGES, Next, PAGE_LIMIT, Search};
use options::{AccountOptions, Cancel, extra_fields};

/// The name in configuration.
pub const NAME: &str = "openai_compatible";
/// How long a server that honours keys is trusted to remember one.
const KEY_TTL: Duration = Duration::from_secs(24 * 3_600);
/// Longest wait for the answer to a delete: vLLM-Omni waits for its engine to let go.
const CANCEL_DEADLINE: Duration = Duration::from_secs(30);

/// One account at one server.
pub struct OpenaiCompatible {
    http: Http,
    profile: ProviderProfile,
    options: AccountOptions,
    limits: BTreeMap<String, ModelLimits>,
}

/// Makes the adapter of one account.
pub(crate) fn build(
    account: &AccountConfig,
    _deps: &ProviderDeps,
    clients: &mut Clients,
) -> Result<Arc<dyn Provider>, BuildError> {
    let base = account.base(None)?;
    let options: AccountOptions = account.read_options()?;
    let list = Lookup::List { lag: Duration::from_secs(10) };
    let submit_timeout = Duration::from_millis(options.submit_timeout_ms.unwrap_or(60_000));
    let profile = ProviderProfile {
        idempotency: account.idempotency(KEY_TTL)?,
        lookup: list,
        cancel: if options.cancel == Cancel::Delete { CancelSupport::BestEffort } else { CancelSupport::None },
        charged_on: options.charged_on.into(),
        submit_timeout,
        absence_settle: Duration::from_secs(120),
        verify_deadline: Duration::from_secs(600),
        poll_first: Duration::from_secs(2),
        poll_ceiling: Duration::from_secs(10),
        callback: false,
        poll_quiet: None,
        polls_per_minute: 0,
        watch_limit: Duration::from_secs(7 * 24 * 3_600),
    };
    let profile = account.profile(profile, &[("list_by_prompt", list)])?;
    if submit_timeout.is_zero() || submit_timeout > Duration::from_secs(3_600) {
        return Err(account.error("options", "submit_timeout_ms must be from 1 to 3600000"));
    }
    let http = clients.http(account, base, account.api_key.clone())?;
    Ok(Arc::new(OpenaiCompatible { http, profile, options, limits: account.model_limits.clone() }))
}

impl OpenaiCompatible {
    /// Takes key and prompt out of what the server says.
    fn clean<'a>(&'a self, prompt: Option<&'a str>) -> impl Fn(&str) -> String + 'a {
        move |text| self.http.redact(text, prompt)
    }

    async fn retrieve(&self, what: &'static str, call: &Call, job: &ProviderJobId) -> Result<Answer, ProviderError> {
        self.http.ask(call, Ask::get(what, self.http.url(&["videos", job.as_str()]))).await
    }
}

#[async_trait]
impl Provider for OpenaiCompatible {
    fn name(&self) -> &'static str {
        NAME
    }

    fn profile(&self, _account: AccountId) -> &ProviderProfile {
        &self.profile
    }

    fn capabilities(&self, _account: AccountId, model: &str) -> Option<ModelCapabilities> {
        let limits = self.limits.get(model).cloned().unwrap_or_default();
        let usual = Size { width: 1280, height: 720 };
        let default_seconds =
            if limits.seconds.is_empty() || limits.seconds.contains(&4) { 4 } else { limits.seconds[0] };
        let default_size =
            if limits.sizes.is_empty() || limits.sizes.contains(&usual) { usual } else { limits.sizes[0] };
        Some(ModelCapabilities {
            seconds: limits.seconds,
            default_seconds,
            sizes: limits.sizes,
            default_size,
            input_image: InputSupport::Optional,
            max_prompt_chars: 32_000,
            price_usd_micros_per_second: limits.price_usd_micros_per_second,
            remix: if self.options.remix { RemixSupport::ByJob } else { RemixSupport::No },
            sunset: None,
        })
    }

    fn check(&self, _account: AccountId, _model: &str, request: &VideoRequest) -> Result<(), Unsupported> {
        extra_fields(request).map(|_| ())
    }

    fn knows_option(&self, _account: AccountId, _model: &str, name: &str) -> bool {
        options::may_be_sent(name).is_ok()
    }

    fn price(&self, _account: AccountId, model: &str, request: &VideoRequest) -> Option<Price> {
        let per_second = self.limits.get(model)?.price_usd_micros_per_second?;
        Some(Price::configured(per_second, request.seconds))
    }

    async fn submit(&self, call: &Call, request: &SubmitRequest) -> Result<ProviderJobId, ProviderError> {
        let ask = self
            .create(request)
            .map_err(|error| ProviderError::Rejected(Failure::new(FailureCode::InvalidRequest, &error.message)))?;
        let answer = self.http.ask(call, ask).await?;
        answers::submission(&answer, &self.clean(Some(&request.request.prompt)))
    }

    async fn find(&self, call: &Call, request: &FindRequest) -> Result<Found, ProviderError> {
        let mut search = Search::new(request);
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut url = self.http.url(&["videos"]);
            url.query_pairs_mut().append_pair("limit", &PAGE_LIMIT.to_string()).append_pair("order", "desc");
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("after", after);
            }
            let mut ask = Ask::get("find", url);
            ask.prompt = Some(&request.request.prompt);
            let page = answers::page(&self.http.ask(call, ask).await?)?;
            match search.read(&page) {
                Next::Covered => return Ok(search.finish(true)),
                Next::Unclear => return Ok(search.finish(false)),
                Next::After(last) if after.as_ref() == Some(&last) => return Ok(search.finish(false)),
                Next::After(last) => after = Some(last),
            }
        }
        Ok(search.finish(false))
    }

    async fn poll(&self, call: &Call, job: &ProviderJobId) -> Result<ProviderStatus, ProviderError> {
        let answer = self.retrieve("poll", call, job).await?;
        answers::status(&answer, job, &self.clean(None))
    }

    async fn fetch(&self, call: &Call, output: &Output) -> Result<Fetched, ProviderError> {
        let unusable = || ProviderError::Gone;
        let Some(id) = output.source.strip_prefix(answers::CONTENT) else {
            let url = output.source.parse().map_err(|_| unusable())?;
            return match self.http.open(call, url).await? {
                Opened::Bytes(fetched) => Ok(fetched),
                Opened::Refused(answer) => Err(refused(&answer)),
            };
        };
        // Without `variant`: the official server gives the video then, and SGLang takes only an index.
        let answer = match self.http.open(call, self.http.url(&["videos", id, "content"])).await? {
            Opened::Bytes(fetched) => return Ok(fetched),
            Opened::Refused(answer) => answer,
        };
        match answers::url_in_refusal(&answer).filter(|_| answer.status == 400) {
            Some(url) => match self.http.open(call, url.parse().map_err(|_| unusable())?).await? {
                Opened::Bytes(fetched) => Ok(fetched),
                Opened::Refused(answer) => Err(refused(&answer)),
            },
            None => match answer.status {
                401 | 403 => Err(errors::refused_reading(&answer)),
                _ => Err(refused(&answer)),
            },
        }
    }

    async fn cancel(&self, call: &Call, job: &ProviderJobId) -> Result<CancelAnswer, ProviderError> {
        if self.options.cancel == Cancel::None {
            return Ok(CancelAnswer::NotStoppable);
        }
        // DELETE on a finished job destroys its file: look first.
        let answer = self.retrieve("cancel", call, job).await?;
        match answers::status(&answer, job, &self.clean(None))?.state {
            ProviderState::Pending => {}
            ProviderState::Done(_) | ProviderState::Failed(_) | ProviderState::NotFound => {
                return Ok(CancelAnswer::AlreadyFinished);
            }
        }
        let mut ask = Ask::get("cancel", self.http.url(&["videos", job.as_str()]));
        (ask.method, ask.deadline) = (Method::DELETE, CANCEL_DEADLINE);
        answers::deletion(&self.http.ask(call, ask).await?).map(|()| CancelAnswer::Stopped)
    }

    async fn check_account(&self, call: &Call) -> Result<String, ProviderError> {
        let mut url = self.http.url(&["videos"]);
        url.query_pairs_mut().append_pair("limit", "1");
        let answer = self.http.ask(call, Ask::get("find", url)).await?;
        match answer.status {
            401 | 403 => Err(errors::refused_reading(&answer)),
            200..=299 => Ok(format!("{} answers and lists videos", self.http.base().origin().ascii_serialization())),
            404 | 405 => Ok(format!(
                "{} answers, but has no list of videos: set lookup = \"none\", and check that base_url ends in /v1",
                self.http.base().origin().ascii_serialization()
            )),
            _ => Err(answer.unknown("no list of videos")),
        }
    }
}
