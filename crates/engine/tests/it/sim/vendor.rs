//! The provider's own side: its jobs, its bills and its behaviour. It outlives every process of ours.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, JobId, ProviderJobId};
use longtake_core::provider::{
    CancelAnswer, ChargedOn, FindRequest, Found, Output, ProviderError, ProviderProfile, ProviderState, ProviderStatus,
    SubmitRequest,
};
use longtake_core::time::{Clock, Timestamp};
use tokio::sync::mpsc::UnboundedSender;

use super::SimRandom;
use super::callbacks::Called;
use super::clock::{SimClock, pause, secs};
use super::faults::{Fault, Faults};
use super::options::{Class, LISTING_LAG, LONGEST_REF_LAG, Options};
use super::provider::Fate;
use super::trace::Trace;

/// One purchase. `job` and `attempt` are the truth; the provider itself knows only the reference.
#[derive(Debug, Clone)]
pub struct Bill {
    pub provider_job: ProviderJobId,
    pub account: AccountId,
    pub job: JobId,
    pub attempt: u16,
    pub client_ref: Box<str>,
    prompt: Box<str>,
    accepted_at: Timestamp,
    visible_at: Timestamp,
    finish_at: Timestamp,
    failure: Option<FailureCode>,
    pub canceled: bool,
    missing: Option<(Timestamp, Timestamp)>,
    backwards: u64,
    bad_copies: u64,
}

impl Bill {
    /// When its work ends, one way or the other.
    pub fn finish_at(&self) -> Timestamp {
        self.finish_at
    }

    /// Whether it takes a slot of its account at the provider.
    pub fn is_running(&self, now: Timestamp) -> bool {
        !self.canceled && now < self.finish_at
    }
}

/// What our side said about an attempt before it was sent: rule R10 is checked against it.
#[derive(Debug, Clone, Copy)]
pub struct Intended {
    pub send_deadline_at: Timestamp,
    pub sent: bool,
}

/// How the provider behaves in scripted tests; by default as chance has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    pub render: Option<Duration>,
    pub failure: Option<FailureCode>,
    pub cancel: Option<CancelAnswer>,
    /// Gives no figure of progress.
    pub silent: bool,
    /// Does not know the job from this time on after its accept, and for so long.
    pub missing: Option<(Duration, Duration)>,
    /// So many copies of its result are no video.
    pub bad_copies: Option<u64>,
}

#[derive(Default)]
struct Books {
    plan: Plan,
    fates: VecDeque<Fate>,
    bills: Vec<Bill>,
    keys: BTreeMap<(AccountId, Box<str>), usize>,
    intents: BTreeMap<(JobId, u16), Intended>,
    calls: u64,
    prices: BTreeMap<AccountId, u64>,
}

pub struct Vendor {
    pub faults: Arc<Faults>,
    pub trace: Trace,
    pub clock: SimClock,
    pub profile: ProviderProfile,
    class: Class,
    longest_render: Duration,
    random: SimRandom,
    callbacks: UnboundedSender<Called>,
    books: Mutex<Books>,
}

impl Vendor {
    pub fn new(
        options: &Options,
        faults: Arc<Faults>,
        trace: Trace,
        clock: SimClock,
        callbacks: UnboundedSender<Called>,
    ) -> Self {
        Self {
            faults,
            trace,
            clock,
            profile: options.profile(),
            class: options.class,
            longest_render: options.longest_render,
            random: SimRandom::stream(options.seed, 77),
            callbacks,
            books: Mutex::default(),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time on the way, in and out.
    pub fn travel(&self) -> Duration {
        Duration::from_millis(self.random.between(5, 400))
    }

    /// What a video costs at an account, in millionths of a dollar; unknown unless set.
    pub fn price(&self, account: AccountId) -> Option<u64> {
        self.books().prices.get(&account).copied()
    }

    pub fn set_price(&self, account: AccountId, usd_micros: u64) {
        self.books().prices.insert(account, usd_micros);
    }

    pub fn bills(&self) -> Vec<Bill> {
        self.books().bills.clone()
    }

    pub fn calls(&self) -> u64 {
        self.books().calls
    }

    pub fn called(&self) {
        self.books().calls += 1;
    }

    /// How it behaves from now on.
    pub fn plan(&self, plan: Plan) {
        self.books().plan = plan;
    }

    /// What becomes of the next submissions, one by one; after them chance decides.
    pub fn script(&self, fates: &[Fate]) {
        self.books().fates.extend(fates);
    }

    pub fn next_fate(&self) -> Fate {
        let scripted = self.books().fates.pop_front();
        scripted.unwrap_or_else(|| Fate::choose(&self.faults))
    }

    /// Our side commits, or tries to commit, this intent: its time begins here at the latest.
    pub fn intended(&self, job: JobId, attempt: u16, send_window: Duration) {
        let send_deadline_at = self.clock.now() + send_window;
        self.books().intents.insert((job, attempt), Intended { send_deadline_at, sent: false });
    }

    /// Rule R10: the first send of an attempt begins before its time is over, whatever anyone's clock says. Where keys are
    /// recognised another owner may send later (rule R8).
    pub fn check_in_time(&self, request: &SubmitRequest) {
        let now = self.clock.now();
        if self.class == Class::Key {
            return;
        }
        let key = (request.job, request.attempt.0);
        let intended = self.books().intents.get(&key).copied();
        if let Some(Intended { send_deadline_at, sent: false }) = intended {
            self.books().intents.insert(key, Intended { send_deadline_at, sent: true });
            if now > send_deadline_at {
                self.trace.violation(format!(
                    "R10: {} attempt {} is sent {:?} after its deadline",
                    request.job,
                    request.attempt,
                    now.since(send_deadline_at)
                ));
            }
        }
    }

    /// Whether a submission under this reference was accepted before.
    pub fn knows_key(&self, account: AccountId, client_ref: &str) -> bool {
        self.class == Class::Key && self.books().keys.contains_key(&(account, client_ref.into()))
    }

    /// Takes a submission: this is the moment it is billed.
    pub fn accept(&self, account: AccountId, request: &SubmitRequest) -> ProviderJobId {
        let now = self.clock.now();
        let client_ref: Box<str> = request.client_ref.as_str().into();
        let mut books = self.books();
        if self.class == Class::Key
            && let Some(known) = books.keys.get(&(account, client_ref.clone()))
        {
            return books.bills[*known].provider_job.clone();
        }
        let number = books.bills.len();
        let provider_job = ProviderJobId::new(&format!("p-{}", number + 1)).expect("a short id");
        let plan = books.plan;
        let render = secs(self.random.between(10, self.longest_render.as_secs()));
        let render = plan.render.unwrap_or(render);
        let faults = &self.faults;
        let lag = match self.class {
            Class::Listing | Class::Shape if faults.strikes(Fault::ListingLag) => {
                secs(faults.below(Fault::ListingLag, LISTING_LAG.as_secs()))
            }
            Class::ByRef if faults.strikes(Fault::ListingLag) => {
                secs(faults.below(Fault::ListingLag, LONGEST_REF_LAG.as_secs()))
            }
            _ => Duration::ZERO,
        };
        let missing = faults.strikes(Fault::NotFoundSpell).then(|| {
            let from = now + secs(faults.below(Fault::NotFoundSpell, render.as_secs()));
            (from, from + secs(1 + faults.below(Fault::NotFoundSpell, 60)))
        });
        let missing = plan.missing.map(|(after, length)| (now + after, now + after + length)).or(missing);
        let failure = faults.strikes(Fault::ProviderFails).then(|| {
            [FailureCode::ProviderError, FailureCode::ContentPolicy][faults.below(Fault::ProviderFails, 2) as usize]
        });
        let failure = plan.failure.or(failure);
        let spoiled = faults.strikes(Fault::Unplayable).then(|| 1 + faults.below(Fault::Unplayable, 4));
        books.bills.push(Bill {
            provider_job: provider_job.clone(),
            account,
            job: request.job,
            attempt: request.attempt.0,
            client_ref: client_ref.clone(),
            prompt: request.request.prompt.clone(),
            accepted_at: now,
            visible_at: now + lag,
            finish_at: now + render,
            failure,
            canceled: false,
            missing,
            backwards: if faults.strikes(Fault::Backwards) { 2 } else { 0 },
            bad_copies: plan.bad_copies.or(spoiled).unwrap_or(0),
        });
        books.keys.insert((account, client_ref), number);
        drop(books);
        self.call_back(request, &provider_job, render);
        self.trace.log(format_args!(
            "vendor: BILL {provider_job} {account} {} n={} ref={}",
            request.job, request.attempt, request.client_ref
        ));
        provider_job
    }

    pub fn find(&self, account: AccountId, request: &FindRequest) -> Found {
        let now = self.clock.now();
        let gap = self.faults.strikes(Fault::ListingGap);
        let books = self.books();
        let matches = books.bills.iter().filter(|bill| {
            let same = match self.class {
                Class::ByRef => *bill.client_ref == *request.client_ref.as_str(),
                Class::Shape => bill.accepted_at >= request.since,
                _ => bill.prompt == request.request.prompt && bill.accepted_at >= request.since,
            };
            bill.account == account && same && bill.visible_at <= now
        });
        // A gap hides the newest, and says so.
        let mut candidates: Vec<_> = matches.map(|bill| bill.provider_job.clone()).collect();
        if gap {
            candidates.pop();
        }
        Found { candidates, complete: !gap }
    }

    /// Calls where the submission says so: when it begins, and at the end. What fails or is canceled is told no earlier.
    fn call_back(&self, request: &SubmitRequest, provider_job: &ProviderJobId, render: Duration) {
        let Some(url) = &request.callback_url else { return };
        let faults = &self.faults;
        let begins = if faults.strikes(Fault::CallbackEarly) { 0 } else { self.random.between(1, 4) };
        for (pending, after) in [(true, secs(begins)), (false, render)] {
            if faults.strikes(Fault::CallbackLost) {
                continue;
            }
            let late = faults.strikes(Fault::CallbackLate).then(|| secs(faults.below(Fault::CallbackLate, 600)));
            for _ in 0..1 + u8::from(faults.strikes(Fault::CallbackRepeated)) {
                let wait = after + late.unwrap_or_default() + self.travel();
                let called = Called { url: url.clone(), provider_job: provider_job.clone(), pending };
                let calls = self.callbacks.clone();
                tokio::spawn(async move {
                    pause(wait).await;
                    // At the end of a world nobody listens.
                    let _ = calls.send(called);
                });
            }
        }
    }

    pub fn status(&self, provider_job: &ProviderJobId) -> ProviderStatus {
        let now = self.clock.now();
        let mut books = self.books();
        let silent = books.plan.silent;
        let Some(bill) = books.bills.iter_mut().find(|bill| bill.provider_job == *provider_job) else {
            return ProviderStatus { state: ProviderState::NotFound, progress: None, retry_after: None };
        };
        let elapsed = now.since(bill.accepted_at).as_millis();
        let whole = bill.finish_at.since(bill.accepted_at).as_millis().max(1);
        let mut progress = u8::try_from((elapsed * 100 / whole).min(100)).unwrap_or(100);
        let in_spell = bill.missing.is_some_and(|(from, to)| from <= now && now < to);
        let failed = |code| ProviderState::Failed(Failure::new(code, "the simulated provider failed"));
        let state = if in_spell {
            ProviderState::NotFound
        } else if bill.canceled {
            failed(FailureCode::ProviderError)
        } else if now < bill.finish_at {
            ProviderState::Pending
        } else if let Some(code) = bill.failure {
            failed(code)
        } else if bill.backwards > 0 && bill.backwards < 2 && self.faults.are_on() {
            bill.backwards -= 1;
            progress /= 2;
            ProviderState::Pending
        } else {
            bill.backwards = bill.backwards.saturating_sub(1);
            let expires = now + secs(120);
            let source = format!("{provider_job}/0?{}", expires.as_micros());
            ProviderState::Done(vec![Output { source: source.into(), media_type: "video/mp4".into() }])
        };
        ProviderStatus { state, progress: (!silent).then_some(progress), retry_after: None }
    }

    pub fn cancel(&self, provider_job: &ProviderJobId) -> Result<CancelAnswer, ProviderError> {
        let now = self.clock.now();
        let mut books = self.books();
        let planned = books.plan.cancel;
        let bill = books.bills.iter_mut().find(|bill| bill.provider_job == *provider_job);
        let Some(bill) = bill else { return Err(ProviderError::Gone) };
        if let Some(answer) = planned {
            bill.canceled |= answer == CancelAnswer::Stopped;
            return Ok(answer);
        }
        if bill.canceled {
            return Ok(CancelAnswer::Stopped);
        }
        if now >= bill.finish_at {
            return Ok(CancelAnswer::AlreadyFinished);
        }
        if self.faults.strikes(Fault::CancelRefused) {
            return Ok(CancelAnswer::NotStoppable);
        }
        bill.canceled = true;
        Ok(CancelAnswer::Stopped)
    }

    /// The bytes behind a link, and whether they are spoiled this time.
    pub fn download(&self, source: &str) -> Result<(String, bool), ProviderError> {
        let now = self.clock.now();
        let (path, expires) = source.split_once('?').ok_or(ProviderError::Gone)?;
        let expired = expires.parse::<i64>().is_ok_and(|at| at < now.as_micros());
        if expired || self.faults.strikes(Fault::StaleLinks) {
            return Err(ProviderError::Gone);
        }
        let name = path.split('/').next().unwrap_or_default();
        let mut books = self.books();
        let bill = books.bills.iter_mut().find(|bill| bill.provider_job.as_str() == name);
        let Some(bill) = bill else { return Err(ProviderError::Gone) };
        let spoiled = bill.bad_copies > 0;
        bill.bad_copies = bill.bad_copies.saturating_sub(1);
        Ok((content(&bill.provider_job), spoiled))
    }

    /// What was charged for a job that ended badly.
    pub fn is_paid(&self, bill: &Bill) -> bool {
        self.profile.charged_on == ChargedOn::Submit || (bill.failure.is_none() && !bill.canceled)
    }
}

/// The video of a provider job: its name in the head, an end that tells a whole copy.
pub fn content(provider_job: &ProviderJobId) -> String {
    format!("VIDEO {provider_job} {:.<200} END", "")
}
