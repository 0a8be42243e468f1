//! One process's line to the provider: what is sent goes its way whatever becomes of the sender.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, ProviderJobId};
use longtake_core::provider::{
    Call, CancelAnswer, Fetched, FindRequest, Found, ModelCapabilities, Output, Price, PriceSource, Provider,
    ProviderError, ProviderProfile, ProviderStatus, SubmitRequest, Unsupported,
};
use longtake_core::request::VideoRequest;
use tokio::sync::oneshot;

use super::clock::{Gate, pause, secs};
use super::faults::{Fault, Faults};
use super::options::LONGEST_ACCEPT;
use super::vendor::Vendor;

/// The provider as one process reaches it.
pub struct Line {
    pub vendor: Arc<Vendor>,
    pub gate: Gate,
    pub process: usize,
}

/// What becomes of one submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// Accepted; the answer is lost: at once, or by silence.
    Dropped,
    ServerError,
    /// Accepted after our timeout.
    Late,
    /// It never arrives, and nobody says so.
    Lost,
    NotSent,
    Rejected,
    AccountRefused,
    RateLimited,
    /// Answered after so many seconds.
    Slow(u64),
    /// The sender is stopped for so many seconds just before its first byte, and sends when it goes on.
    Stopped(u64),
    /// The sender dies before its first byte, or right after its last.
    CrashBefore,
    CrashAfter,
}

impl Fate {
    pub fn choose(faults: &Faults) -> Self {
        let fates = [
            (Fault::NotSent, Self::NotSent),
            (Fault::LostRequest, Self::Lost),
            (Fault::Reject, Self::Rejected),
            (Fault::AccountRefusal, Self::AccountRefused),
            (Fault::RateLimit, Self::RateLimited),
            (Fault::DropAnswer, Self::Dropped),
            (Fault::ServerError, Self::ServerError),
            (Fault::LateAccept, Self::Late),
        ];
        fates.into_iter().find(|(fault, _)| faults.strikes(*fault)).map_or(Self::Answered, |(_, fate)| fate)
    }
}

fn unknown(what: &str) -> ProviderError {
    ProviderError::Unknown { source: what.into(), retry_after: None }
}

type Answer = Result<ProviderJobId, ProviderError>;

/// The way of a request after it left us.
async fn travel(
    vendor: Arc<Vendor>,
    account: AccountId,
    request: SubmitRequest,
    fate: Fate,
    answer: oneshot::Sender<Answer>,
) {
    let faults = vendor.faults.clone();
    let silence = faults.below(Fault::DropAnswer, 2) == 0;
    pause(match fate {
        Fate::Late => secs(61 + faults.below(Fault::LateAccept, LONGEST_ACCEPT.as_secs() - 61)),
        Fate::Slow(seconds) => secs(seconds),
        _ => vendor.travel(),
    })
    .await;
    let known = vendor.knows_key(account, request.client_ref.as_str());
    let heard: Answer = match fate {
        Fate::Lost | Fate::NotSent | Fate::CrashBefore => Err(unknown("connection reset")),
        Fate::Rejected if !known => {
            Err(ProviderError::Rejected(Failure::new(FailureCode::InvalidRequest, "the provider finds it invalid")))
        }
        Fate::AccountRefused if !known => {
            Err(ProviderError::Account(Failure::new(FailureCode::ProviderQuota, "no credit")))
        }
        Fate::RateLimited => {
            let retry_after = Some(secs(1 + faults.below(Fault::RateLimit, 30)));
            Err(ProviderError::RateLimited { retry_after })
        }
        Fate::Dropped | Fate::ServerError => {
            vendor.accept(account, &request);
            Err(unknown("502 from a proxy"))
        }
        Fate::Answered
        | Fate::CrashAfter
        | Fate::Slow(_)
        | Fate::Stopped(_)
        | Fate::Late
        | Fate::Rejected
        | Fate::AccountRefused => Ok(vendor.accept(account, &request)),
    };
    pause(vendor.travel()).await;
    if matches!(fate, Fate::Dropped | Fate::Lost) && silence {
        pause(secs(3_600)).await;
    }
    let _ = answer.send(heard);
}

impl Line {
    async fn way(&self) {
        self.gate.pass().await;
        self.vendor.called();
        pause(self.vendor.travel()).await;
    }

    /// The answer reaches a process only while it runs.
    async fn back<T>(&self, answer: T) -> T {
        self.gate.pass().await;
        answer
    }

    fn note(&self, call: &str, about: &dyn std::fmt::Display, answer: &dyn std::fmt::Debug) {
        self.vendor.trace.log(format_args!("e{} {call} {about} -> {answer:?}", self.process));
    }
}

#[async_trait]
impl Provider for Line {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn profile(&self, _account: AccountId) -> &ProviderProfile {
        &self.vendor.profile
    }

    fn capabilities(&self, _account: AccountId, _model: &str) -> Option<ModelCapabilities> {
        None // the engine asks the edge's question never
    }

    fn check(&self, _account: AccountId, _model: &str, _request: &VideoRequest) -> Result<(), Unsupported> {
        Ok(())
    }

    fn knows_option(&self, _account: AccountId, _model: &str, _name: &str) -> bool {
        false
    }

    fn price(&self, account: AccountId, _model: &str, _request: &VideoRequest) -> Option<Price> {
        self.vendor.price(account).map(|usd_micros| Price { usd_micros, source: PriceSource::Catalogue })
    }

    async fn submit(&self, call: &Call, request: &SubmitRequest) -> Answer {
        let (faults, account) = (&self.vendor.faults, call.account);
        self.vendor.check_in_time(request);
        self.gate.pass().await;
        self.vendor.called();
        if faults.strikes(Fault::FreezeAtSend) {
            // Shorter than the answer may take, or so long that it times out as it goes on.
            let longest = [55, 600][faults.below(Fault::FreezeAtSend, 2) as usize];
            let pause = secs(5 + faults.below(Fault::FreezeAtSend, longest));
            self.vendor.trace.log(format_args!("e{} stopped for {pause:?} as it sends", self.process));
            self.gate.freeze_for(pause);
        }
        // A stopped process sends when it goes on, whoever owns the job by then.
        self.gate.pass().await;
        let fate = self.vendor.next_fate();
        let what = format!("{account} {} n={} ref={}", request.job, request.attempt, request.client_ref);
        self.note("submit", &what, &fate);
        if fate == Fate::NotSent {
            return self.back(Err(ProviderError::NotSent { source: "connection refused".into() })).await;
        }
        if let Fate::Stopped(seconds) = fate {
            self.gate.freeze_for(secs(seconds));
            self.gate.pass().await;
        }
        if fate == Fate::CrashBefore {
            self.gate.kill();
            self.gate.pass().await;
        }
        let (answer, heard) = oneshot::channel();
        tokio::spawn(travel(self.vendor.clone(), account, request.clone(), fate, answer));
        if fate == Fate::CrashAfter {
            self.gate.kill();
        }
        let answer = heard.await.unwrap_or_else(|_| Err(unknown("connection closed")));
        let answer = self.back(answer).await;
        self.note("submitted", &what, &answer);
        answer
    }

    async fn find(&self, call: &Call, request: &FindRequest) -> Result<Found, ProviderError> {
        self.way().await;
        let answer = if self.vendor.faults.strikes(Fault::PollErrors) {
            Err(unknown("503"))
        } else {
            Ok(self.vendor.find(call.account, request))
        };
        self.note("find", &request.client_ref, &answer);
        pause(self.vendor.travel()).await;
        self.back(answer).await
    }

    async fn poll(&self, _call: &Call, job: &ProviderJobId) -> Result<ProviderStatus, ProviderError> {
        self.way().await;
        let faults = &self.vendor.faults;
        let answer = if faults.strikes(Fault::PollErrors) {
            match faults.below(Fault::PollErrors, 4) {
                0 => Err(ProviderError::RateLimited { retry_after: Some(secs(20)) }),
                1 => {
                    pause(secs(90)).await; // longer than anyone waits
                    Err(unknown("timeout"))
                }
                _ => Err(unknown("500")),
            }
        } else {
            Ok(self.vendor.status(job))
        };
        self.note("poll", job, &answer.as_ref().map(|status| &status.state));
        pause(self.vendor.travel()).await;
        self.back(answer).await
    }

    async fn fetch(&self, _call: &Call, output: &Output) -> Result<Fetched, ProviderError> {
        self.way().await;
        let downloaded = self.vendor.download(&output.source);
        self.note("fetch", &output.source, &downloaded.as_ref().map(|(_, spoiled)| *spoiled));
        let faults = self.vendor.faults.clone();
        let fetched = downloaded.map(|(text, spoiled)| {
            let mut bytes = Bytes::from(text);
            let mut length = Some(bytes.len() as u64);
            if spoiled {
                bytes = Bytes::from_static(b"<html>an error page with status 200</html>");
                length = None;
            } else if faults.strikes(Fault::Truncated) {
                bytes = bytes.slice(..bytes.len() / 2);
                length = length.filter(|_| faults.below(Fault::Truncated, 2) == 0);
            }
            let slow = faults.strikes(Fault::SlowSource).then(|| secs(5 + faults.below(Fault::SlowSource, 90)));
            let half = bytes.len() / 2;
            let chunks = vec![bytes.slice(..half), bytes.slice(half..)];
            let stream = futures::stream::iter(chunks).then(move |chunk| async move {
                pause(slow.unwrap_or(Duration::from_millis(50))).await;
                Ok(chunk)
            });
            Fetched { stream: stream.boxed(), length }
        });
        self.back(fetched).await
    }

    async fn cancel(&self, _call: &Call, job: &ProviderJobId) -> Result<CancelAnswer, ProviderError> {
        self.way().await;
        let answer = if self.vendor.faults.strikes(Fault::CancelErrors) {
            // Whether it was done is open.
            if self.vendor.faults.below(Fault::CancelErrors, 2) == 0 {
                let _ = self.vendor.cancel(job);
            }
            Err(unknown("504"))
        } else {
            self.vendor.cancel(job)
        };
        self.note("cancel", job, &answer);
        pause(self.vendor.travel()).await;
        self.back(answer).await
    }

    async fn check_account(&self, _call: &Call) -> Result<String, ProviderError> {
        self.way().await;
        Ok("simulated".into())
    }
}
