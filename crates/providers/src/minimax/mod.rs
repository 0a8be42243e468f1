//! MiniMax: two unrelated wire contracts under one key, chosen by model.
//!
//! The second wire (MiniMax-H3) has HTTP statuses, a list and a cancel while queued; the first (Hailuo) answers 200
//! also where it failed and has neither. [`models`] says which model speaks which, [`errors`] what codes mean,
//! [`answers`] what everything else means. Wire, limits, traps and sources: `README.md`.
//! [`callback`] reads its calls to us, which it does not sign.
//! Absent: references, regeneration, prompt enrichment.

pub mod answers;
mod body;
pub mod callback;
pub mod errors;
pub mod lookup;
pub mod models;
pub mod options;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, Method};
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, ProviderJobId};
use longtake_core::provider::{
    Call, Callback, CallbackRequest, CancelAnswer, CancelSupport, ChargedOn, Fetched, FindRequest, Found, Idempotency,
    Lookup, ModelCapabilities, Output, Price, PriceSource, Provider, ProviderError, ProviderProfile, ProviderStatus,
    SubmitRequest, Unsupported,
};
use longtake_core::request::VideoRequest;

use crate::account::{AccountConfig, BuildError};
use crate::http::{Ask, Body, Clients, Http, Opened, refused};
use crate::registry::ProviderDeps;
use answers::{FILE, FIRST_WIRE};
use lookup::{MAX_PAGES, Next, PAGE_SIZE, Search};
use models::{Model, Wire};
use options::{AccountOptions, wanted};
use wire::TaskStatus;

/// The name in configuration.
pub const NAME: &str = "minimax";
/// Polls per minute on the second wire; the first has 20 (rate-limit page, read 2026-09-27).
const POLLS_PER_MINUTE: u32 = 300;
/// The vendor remembers a task for seven days.
const MEMORY: Duration = Duration::from_secs(7 * 24 * 3_600);

/// One account in one region.
pub struct Minimax {
    http: Http,
    profile: ProviderProfile,
    /// What the operator says of prices per second, by model.
    prices: BTreeMap<String, u64>,
}

/// Makes the adapter of one account.
pub(crate) fn build(
    account: &AccountConfig,
    _deps: &ProviderDeps,
    clients: &mut Clients,
) -> Result<Arc<dyn Provider>, BuildError> {
    let options: AccountOptions = account.read_options()?;
    let base = account.base(Some(options.region.base_url()))?;
    let key = account.required_key()?;
    account.without_idempotency()?;
    let list = Lookup::ListByShape { lag: Duration::from_secs(10) };
    let profile = ProviderProfile {
        idempotency: Idempotency::None,
        lookup: list,
        cancel: CancelSupport::BestEffort,
        // Not documented; a failed task may have cost something, so no attempt follows it by itself.
        charged_on: ChargedOn::Submit,
        submit_timeout: Duration::from_secs(60),
        absence_settle: Duration::from_secs(120),
        verify_deadline: Duration::from_secs(600),
        // The vendor asks for about ten seconds.
        poll_first: Duration::from_secs(10),
        poll_ceiling: Duration::from_secs(10),
        callback: true,
        poll_quiet: None,
        polls_per_minute: options.polls_per_minute.unwrap_or(POLLS_PER_MINUTE),
        watch_limit: MEMORY,
    };
    let profile = account.profile(profile, &[("list", list)])?;
    let http = clients.http(account, base, Some(key))?;
    Ok(Arc::new(Minimax { http, profile, prices: account.prices() }))
}

impl Minimax {
    fn clean<'a>(&'a self, prompt: Option<&'a str>) -> impl Fn(&str) -> String + 'a {
        move |text| self.http.redact(text, prompt)
    }

    /// An address of the second wire's queries, or of the first's.
    fn query(&self, job: &ProviderJobId) -> (Wire, reqwest::Url) {
        match job.as_str().strip_prefix(FIRST_WIRE) {
            Some(id) => {
                let mut url = self.http.url(&["v1", "query", "video_generation"]);
                url.query_pairs_mut().append_pair("task_id", id);
                (Wire::V1, url)
            }
            None => (Wire::V2, self.http.url(&["v2", "query", "video_generation", job.as_str()])),
        }
    }
}

fn unsupported(error: &Unsupported) -> ProviderError {
    ProviderError::Rejected(Failure::new(FailureCode::InvalidRequest, &error.message))
}

fn model_of(name: &str) -> Result<&'static Model, Unsupported> {
    Model::by_name(name).ok_or_else(|| Unsupported::new("model", format!("MiniMax has no model {name:?} that we know")))
}

#[async_trait]
impl Provider for Minimax {
    fn name(&self) -> &'static str {
        NAME
    }

    fn profile(&self, _account: AccountId) -> &ProviderProfile {
        &self.profile
    }

    fn capabilities(&self, _account: AccountId, model: &str) -> Option<ModelCapabilities> {
        let mut capabilities = Model::by_name(model).map(Model::capabilities)?;
        let configured = self.prices.get(model).copied();
        capabilities.price_usd_micros_per_second = configured.or(capabilities.price_usd_micros_per_second);
        Some(capabilities)
    }

    fn check(&self, _account: AccountId, model: &str, request: &VideoRequest) -> Result<(), Unsupported> {
        wanted(model_of(model)?, request).map(|_| ())
    }

    fn knows_option(&self, _account: AccountId, model: &str, name: &str) -> bool {
        Model::by_name(model).is_some_and(|model| options::known(model).contains(&name))
    }

    /// By class and length. One input image is free with every model.
    fn price(&self, _account: AccountId, model: &str, request: &VideoRequest) -> Option<Price> {
        if let Some(per_second) = self.prices.get(model) {
            return Some(Price::configured(*per_second, request.seconds));
        }
        let model = Model::by_name(model)?;
        let class = model.class(wanted(model, request).ok()?.resolution)?;
        Some(Price { usd_micros: class.price.of(request.seconds)?, source: PriceSource::Catalogue })
    }

    async fn submit(&self, call: &Call, request: &SubmitRequest) -> Result<ProviderJobId, ProviderError> {
        let model = model_of(&request.model).map_err(|error| unsupported(&error))?;
        let wanted = wanted(model, &request.request).map_err(|error| unsupported(&error))?;
        let (version, body) = match model.wire {
            Wire::V1 => ("v1", body::first(request, &wanted)),
            Wire::V2 => ("v2", body::second(request, &wanted)),
        };
        let ask = Ask {
            call: "submit",
            method: Method::POST,
            url: self.http.url(&[version, "video_generation"]),
            headers: HeaderMap::new(),
            body: Body::Json(body),
            deadline: self.profile.submit_timeout,
            prompt: Some(&request.request.prompt),
        };
        let answer = self.http.ask(call, ask).await?;
        answers::submission(&answer, model.wire, &self.clean(Some(&request.request.prompt)))
    }

    async fn find(&self, call: &Call, request: &FindRequest) -> Result<Found, ProviderError> {
        let nothing = Found { candidates: Vec::new(), complete: false };
        let Some(model) = Model::by_name(&request.model).filter(|model| model.wire == Wire::V2) else {
            return Ok(nothing);
        };
        let Ok(wanted) = wanted(model, &request.request) else { return Ok(nothing) };
        let mut search = Search::new(model.name, &wanted, request.request.seconds, request.since);
        for page in 1..=MAX_PAGES {
            let mut url = self.http.url(&["v2", "query", "video_generation"]);
            url.query_pairs_mut()
                .append_pair("page_num", &page.to_string())
                .append_pair("page_size", &PAGE_SIZE.to_string())
                .append_pair("filter.model", model.name);
            let listed = answers::list(&self.http.ask(call, Ask::get("find", url)).await?)?;
            match search.read(&listed) {
                Next::Covered => return Ok(search.finish(true)),
                Next::Unclear => return Ok(search.finish(false)),
                Next::More => {}
            }
        }
        Ok(search.finish(false))
    }

    async fn poll(&self, call: &Call, job: &ProviderJobId) -> Result<ProviderStatus, ProviderError> {
        let (wire, url) = self.query(job);
        let answer = self.http.ask(call, Ask::get("poll", url)).await?;
        match wire {
            Wire::V1 => answers::first_status(&answer, &self.clean(None)),
            Wire::V2 => answers::second_status(&answer, self.http.now(), &self.clean(None)),
        }
    }

    async fn fetch(&self, call: &Call, output: &Output) -> Result<Fetched, ProviderError> {
        let url = match output.source.strip_prefix(FILE) {
            None => output.source.to_string(),
            Some(file) => {
                let mut url = self.http.url(&["v1", "files", "retrieve"]);
                url.query_pairs_mut().append_pair("file_id", file);
                answers::download_url(&self.http.ask(call, Ask::get("fetch", url)).await?)?
            }
        };
        match self.http.open(call, url.parse().map_err(|_| ProviderError::Gone)?).await? {
            Opened::Bytes(fetched) => Ok(fetched),
            Opened::Refused(answer) => Err(refused(&answer)),
        }
    }

    async fn cancel(&self, call: &Call, job: &ProviderJobId) -> Result<CancelAnswer, ProviderError> {
        let (wire, url) = self.query(job);
        if wire == Wire::V1 {
            return Ok(CancelAnswer::NotStoppable);
        }
        // DELETE destroys the record of a finished task, and a running one cannot be stopped: look first.
        let answer = self.http.ask(call, Ask::get("cancel", url)).await?;
        match answers::task(&answer)?.status {
            Some(TaskStatus::Queued) => {}
            Some(TaskStatus::Running | TaskStatus::Unknown) | None => return Ok(CancelAnswer::NotStoppable),
            Some(TaskStatus::Cancelled) => return Ok(CancelAnswer::Stopped),
            Some(TaskStatus::Succeeded | TaskStatus::Failed | TaskStatus::Expired) => {
                return Ok(CancelAnswer::AlreadyFinished);
            }
        }
        let mut ask = Ask::get("cancel", self.http.url(&["v2", "video_generation", job.as_str()]));
        ask.method = Method::DELETE;
        let answer = self.http.ask(call, ask).await?;
        match answer.status {
            200..=299 => Ok(CancelAnswer::Stopped),
            // It began in between.
            400 | 409 => Ok(CancelAnswer::NotStoppable),
            _ => Err(errors::refused_reading(&answer)),
        }
    }

    fn callback(&self, _account: AccountId, request: &CallbackRequest<'_>) -> Callback {
        callback::read(request.body, |body| self.http.excerpt(body))
    }

    async fn check_account(&self, call: &Call) -> Result<String, ProviderError> {
        let mut url = self.http.url(&["v2", "query", "video_generation"]);
        url.query_pairs_mut().append_pair("page_num", "1").append_pair("page_size", "1");
        let listed = answers::list(&self.http.ask(call, Ask::get("find", url)).await?)?;
        let total = listed.total.unwrap_or_default();
        Ok(format!(
            "{} knows the key; {total} tasks in the last seven days",
            self.http.base().origin().ascii_serialization()
        ))
    }
}
