//! The built-in provider: renders the prompt as a title card, without network or key, and does what the prompt orders.
//!
//! It behaves like a remote vendor: a job is durable in `DATA_DIR/sandbox/` before it is accepted, is found again by
//! its client ref, goes on after `kill -9` and can be canceled. Progress and end are computed from the clock; the
//! rendering runs in the background and begins anew after a restart ([`script`] has the orders).
//! Absent: charges, rate limits, the network.

mod calls;
mod disk;
mod render;
pub mod script;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, ProviderJobId, Random};
use longtake_core::provider::{
    Call, CancelAnswer, CancelSupport, ChargedOn, Exchange, Fetched, FindRequest, Found, Idempotency, InputSupport,
    Lookup, ModelCapabilities, Output, Price, PriceSource, Provider, ProviderError, ProviderProfile, ProviderState,
    ProviderStatus, RemixSupport, SubmitRequest, Unsupported,
};
use longtake_core::request::{Size, VideoRequest};
use longtake_core::time::{Clock, Timestamp};

use crate::account::{AccountConfig, BuildError};
use crate::http::{Clients, Seen};
use crate::options;
use crate::registry::ProviderDeps;
use disk::{Entry, Folder};
use render::Renderings;
use script::Script;

/// The name in configuration.
pub const NAME: &str = "sandbox";
/// The only model.
pub const MODEL: &str = "sandbox";
const PREFIX: &str = "sbx_";
const DEFAULT_FPS: u32 = 24;
/// Without a told duration, a job takes this much longer than its rendering.
const BEYOND_RENDERING: Duration = Duration::from_secs(2);
/// Least time between two sweeps of the folder.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// What a job that hangs reports for ever.
const HANGING_PROGRESS: u8 = 10;

/// The sandbox as one account.
pub struct Sandbox {
    profile: ProviderProfile,
    /// It costs nothing, unless the operator plays at costs.
    prices: BTreeMap<String, u64>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    folder: Arc<Folder>,
    renderings: Arc<Renderings>,
    next_sweep: Mutex<Duration>,
}

/// Makes the adapter of one account.
pub(crate) fn build(
    account: &AccountConfig,
    deps: &ProviderDeps,
    _clients: &mut Clients,
) -> Result<Arc<dyn Provider>, BuildError> {
    if account.base_url.is_some() {
        return Err(account.error("base_url", "the sandbox is built in and has no address"));
    }
    if let Some(key) = account.options.keys().next() {
        return Err(account.error("options", format!("the sandbox has no option {key:?}")));
    }
    account.without_idempotency()?;
    let profile = account.profile(profile(), &[("by_ref", Lookup::ByRef)])?;
    let folder = Arc::new(Folder::new(deps.data_dir.join(NAME)));
    let renderings = Arc::new(Renderings::new(Arc::clone(&folder), Arc::clone(&deps.clock)));
    let (clock, random, prices) = (Arc::clone(&deps.clock), Arc::clone(&deps.random), account.prices());
    Ok(Arc::new(Sandbox { profile, prices, clock, random, folder, renderings, next_sweep: Mutex::new(Duration::ZERO) }))
}

fn profile() -> ProviderProfile {
    ProviderProfile {
        idempotency: Idempotency::Key { ttl: Duration::from_secs(24 * 3_600) },
        lookup: Lookup::ByRef,
        cancel: CancelSupport::BestEffort,
        charged_on: ChargedOn::Success,
        submit_timeout: Duration::from_secs(60),
        // Its ledger is written before it answers, so absence shows at once; the wait covers `slow_submit`'s sender.
        absence_settle: Duration::from_secs(2),
        verify_deadline: Duration::from_secs(600),
        poll_first: Duration::from_millis(200),
        poll_ceiling: Duration::from_secs(1),
        callback: false,
        poll_quiet: None,
        polls_per_minute: 0,
        watch_limit: Duration::from_secs(7 * 24 * 3_600),
    }
}

/// What `provider_options` may hold.
const OPTIONS: [&str; 1] = ["fps"];

/// Frames per second from `provider_options`.
fn frame_rate(request: &VideoRequest) -> Result<u32, Unsupported> {
    let given = options::read(request)?;
    options::only(&given, &OPTIONS)?;
    let Some(value) = given.get("fps") else { return Ok(DEFAULT_FPS) };
    let fps = value.as_u64().and_then(|fps| u32::try_from(fps).ok());
    fps.filter(|fps| (1..=longtake_media::MAX_FPS).contains(fps))
        .ok_or_else(|| options::wrong("fps", format!("must be a whole number from 1 to {}", longtake_media::MAX_FPS)))
}

fn check(request: &VideoRequest) -> Result<(), Unsupported> {
    Script::parse(&request.prompt)?;
    let Size { width, height } = request.size;
    let (long, short) = (width.max(height), width.min(height));
    let even = width.is_multiple_of(2) && height.is_multiple_of(2);
    if !even || long > longtake_media::MAX_LONG_SIDE || short > longtake_media::MAX_SHORT_SIDE {
        let message = format!("the sandbox takes even sizes up to 3840x2160, not {}", request.size);
        return Err(Unsupported::new("size", message));
    }
    if !(1..=longtake_media::MAX_SECONDS).contains(&request.seconds) {
        let message = format!("the sandbox takes 1 to {} seconds", longtake_media::MAX_SECONDS);
        return Err(Unsupported::new("seconds", message));
    }
    frame_rate(request).map(|_| ())
}

/// The file name of a provider job of ours; `None` for anything that cannot be one.
fn name_of(job: &str) -> Option<&str> {
    let name = job.strip_prefix(PREFIX)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (!name.is_empty() && name.len() <= 64 && name.bytes().all(plain)).then_some(name)
}

fn broken(error: impl Into<longtake_core::BoxError>) -> ProviderError {
    ProviderError::Unknown { source: error.into(), retry_after: None }
}

/// Runs on a thread that may wait for the disk.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, ProviderError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(broken),
        Err(error) => Err(broken(error)),
    }
}

impl Sandbox {
    fn record(&self, call: &Call, what: &'static str, id: &str, began: Duration, answer: &str) {
        let duration = self.clock.monotonic().saturating_sub(began);
        call.record(Exchange {
            call: what,
            at: self.clock.now(),
            request: format!("sandbox {id}").into(),
            status: None,
            duration_ms: u32::try_from(duration.as_millis()).unwrap_or(u32::MAX),
            answer: answer.into(),
        });
    }

    async fn load(&self, name: &str) -> Result<Option<Entry>, ProviderError> {
        let (folder, name) = (Arc::clone(&self.folder), name.to_owned());
        on_disk(move || folder.load(&name)).await
    }

    /// Now and then forgets what has been fetched long ago.
    fn sweep(&self) {
        let now = self.clock.monotonic();
        let mut next = self.next_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        if now < *next {
            return;
        }
        // Up to a minute later, so that processes on one folder do not sweep together.
        *next = now + SWEEP_EVERY + Duration::from_millis(self.random.below(60_000));
        let (folder, now) = (Arc::clone(&self.folder), self.clock.now().as_micros());
        tokio::task::spawn_blocking(move || match folder.sweep(now) {
            Ok(0) => {}
            Ok(jobs) => tracing::debug!(jobs, "the sandbox forgot {jobs} old jobs"),
            Err(error) => tracing::warn!(error = %error, "the sandbox could not tidy up: {error}"),
        });
    }

    /// How far a job is, from the clock and its rendering.
    fn status(&self, name: &str, entry: &Entry, script: &Script, has_video: bool) -> (ProviderState, Option<u8>) {
        let failed = |code, message: &str| (ProviderState::Failed(Failure::new(code, message)), None);
        if entry.stopped_at.is_some() {
            return failed(FailureCode::Canceled, "the sandbox stopped it");
        }
        if script.hang {
            return (ProviderState::Pending, Some(HANGING_PROGRESS));
        }
        let now = self.clock.now();
        let elapsed = now.since(Timestamp::from_micros(entry.accepted_at));
        if let Some(code) = script.failure_of(entry.attempt) {
            let duration = script.duration.unwrap_or(BEYOND_RENDERING);
            if elapsed >= duration {
                return failed(code, "the sandbox failed it, as its prompt orders");
            }
            return (ProviderState::Pending, Some(percent(elapsed, duration)));
        }
        let rendered = match (has_video, entry.rendered_at) {
            (true, rendered_at) => Some(Timestamp::from_micros(rendered_at.unwrap_or(entry.accepted_at))),
            (false, _) => None,
        };
        let rendering = match rendered {
            Some(_) => 1.0,
            None => {
                let rendering = self.renderings.of(name, entry);
                if let Some(reason) = rendering.failure() {
                    return failed(FailureCode::ProviderError, &format!("the sandbox could not draw it: {reason}"));
                }
                rendering.share()
            }
        };
        let (waited, wait) = match script.duration {
            Some(duration) => (elapsed, duration),
            None => (rendered.map_or(Duration::ZERO, |at| now.since(at)), BEYOND_RENDERING),
        };
        if rendered.is_some() && waited >= wait {
            let output = Output { source: format!("{PREFIX}{name}").into(), media_type: "video/mp4".into() };
            return (ProviderState::Done(vec![output]), Some(100));
        }
        let progress = match script.duration {
            Some(duration) => f64::from(percent(elapsed, duration)).min(rendering * 100.0),
            // Nine tenths are the rendering, the rest is the wait beyond it.
            None => rendering * 90.0 + f64::from(percent(waited, wait)) / 10.0,
        };
        (ProviderState::Pending, Some(progress.clamp(0.0, 99.0) as u8))
    }
}

/// A share of a time, 0 to 99.
fn percent(elapsed: Duration, whole: Duration) -> u8 {
    if whole.is_zero() { 99 } else { (elapsed.as_secs_f64() / whole.as_secs_f64() * 100.0).clamp(0.0, 99.0) as u8 }
}
