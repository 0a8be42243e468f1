//! What every provider must do, chosen by its profile, over real HTTP. Read as a list, the names are the specification.

use std::sync::Arc;
use std::time::Duration;

use longtake_core::failure::FailureCode;
use longtake_core::id::ProviderJobId;
use longtake_core::provider::{
    CancelAnswer, Idempotency, Lookup, Provider, ProviderError, ProviderState, SubmitRequest,
};
use longtake_testing::sim::{CreateFault, Faults, Flavour, Options, ProgressReport, Simulator};
use serde_json::json;

use crate::support::*;

/// One provider with its vendor.
struct Subject {
    name: &'static str,
    /// Absent for the sandbox, which is its own vendor.
    simulator: Option<Simulator>,
    provider: Arc<dyn Provider>,
    model: &'static str,
    seconds: u32,
    /// An order to the vendor, put into each prompt.
    fails_by: &'static str,
    fails_with: FailureCode,
    _folder: Folder,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Openai,
    OpenaiKeyed,
    Sglang,
    VllmOmni,
    MinimaxV2,
    MinimaxV1,
    Sandbox,
}

const REMOTE: [Kind; 6] =
    [Kind::Openai, Kind::OpenaiKeyed, Kind::Sglang, Kind::VllmOmni, Kind::MinimaxV2, Kind::MinimaxV1];
const ALL: [Kind; 7] =
    [Kind::Openai, Kind::OpenaiKeyed, Kind::Sglang, Kind::VllmOmni, Kind::MinimaxV2, Kind::MinimaxV1, Kind::Sandbox];

fn given(kind: Kind) -> Subject {
    given_with(kind, |_| {})
}

fn given_with(kind: Kind, change: impl FnOnce(&mut Options)) -> Subject {
    let folder = Folder::new();
    if kind == Kind::Sandbox {
        return Subject {
            name: "sandbox",
            simulator: None,
            provider: provider(account("sandbox", None), folder.0.clone()),
            model: "sandbox",
            seconds: 1,
            fails_by: "[sandbox fail=content_policy duration=1ms]",
            fails_with: FailureCode::ContentPolicy,
            _folder: folder,
        };
    }
    let flavour = match kind {
        Kind::Sglang => Flavour::Sglang,
        Kind::VllmOmni => Flavour::VllmOmni,
        _ => Flavour::Openai,
    };
    let mut options = Options { flavour, api_key: Some(KEY.to_owned()), duration_ms: 100, ..Options::default() };
    options.idempotency_key = kind == Kind::OpenaiKeyed;
    change(&mut options);
    let simulator = Simulator::start(options);
    let minimax = matches!(kind, Kind::MinimaxV2 | Kind::MinimaxV1);
    let base = if minimax { simulator.url() } else { format!("{}/v1", simulator.url()) };
    let mut account = account(if minimax { "minimax" } else { "openai_compatible" }, Some(&base));
    match kind {
        Kind::OpenaiKeyed => account.idempotency = Some("key".to_owned()),
        Kind::Sglang => account.options = object(json!({"seconds_type": "integer"})),
        Kind::VllmOmni => account.options = object(json!({"cancel": "delete", "charged_on": "success"})),
        _ => {}
    }
    let (name, model, fails_by) = match kind {
        Kind::Openai => ("openai", "sora-2", "[sim fail=moderation_blocked]"),
        Kind::OpenaiKeyed => ("openai with keys", "sora-2", "[sim fail=moderation_blocked]"),
        Kind::Sglang => ("sglang", "wan-2.2", "[sim fail=moderation]"),
        Kind::VllmOmni => ("vllm-omni", "wan-2.2", "[sim fail=400]"),
        Kind::MinimaxV2 => ("minimax v2", "MiniMax-H3", "[sim fail=1027]"),
        Kind::MinimaxV1 => ("minimax v1", "MiniMax-Hailuo-2.3", "[sim fail=1027]"),
        Kind::Sandbox => unreachable!("handled above"),
    };
    let fails_with = if kind == Kind::VllmOmni { FailureCode::InvalidRequest } else { FailureCode::ContentPolicy };
    let provider = remote(account);
    Subject { name, simulator: Some(simulator), provider, model, seconds: 6, fails_by, fails_with, _folder: folder }
}

fn object(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    value.as_object().unwrap().clone()
}

impl Subject {
    fn submission(&self, prompt: &str) -> SubmitRequest {
        submission(self.model, request(prompt, self.seconds))
    }

    fn simulator(&self) -> &Simulator {
        self.simulator.as_ref().unwrap()
    }

    async fn accepted(&self, prompt: &str) -> ProviderJobId {
        let submitted = self.provider.submit(&call(), &self.submission(prompt)).await;
        submitted.unwrap_or_else(|error| panic!("{}: {error:?}", self.name))
    }

    fn accepts(&self) -> usize {
        self.simulator().ledger().accepted()
    }

    fn profile(&self) -> &longtake_core::provider::ProviderProfile {
        self.provider.profile(longtake_core::id::AccountId(1))
    }
}

/// The vendor's id in a ledger, as we store it.
fn stored(kind: Kind, vendors: &str) -> String {
    if kind == Kind::MinimaxV1 { format!("v1:{vendors}") } else { vendors.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn submits_once_and_returns_the_provider_job() {
    for kind in REMOTE {
        let subject = given(kind);
        let job = subject.accepted("a paper boat").await;
        let ledger = subject.simulator().ledger().jobs();
        assert_eq!(ledger.len(), 1, "{}", subject.name);
        assert_eq!(job.as_str(), stored(kind, &ledger[0].provider_job), "{}", subject.name);
        assert_eq!((ledger[0].prompt.as_str(), ledger[0].seconds), ("a paper boat", 6), "{}", subject.name);
        assert_eq!(ledger[0].model, subject.model);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn carries_the_client_ref_where_the_vendor_has_a_place_for_it() {
    for kind in [Kind::Openai, Kind::OpenaiKeyed, Kind::Sglang, Kind::VllmOmni] {
        let subject = given(kind);
        let submission = subject.submission("a paper boat");
        subject.provider.submit(&call(), &submission).await.unwrap();
        let ledger = subject.simulator().ledger().jobs();
        assert_eq!(ledger[0].idempotency_key.as_deref(), Some(submission.client_ref.as_str()), "{}", subject.name);
    }
    let subject = given(Kind::Sandbox);
    let submission = subject.submission("a paper boat [sandbox hang]");
    let job = subject.provider.submit(&call(), &submission).await.unwrap();
    assert_eq!(job.as_str(), format!("sbx_{}", submission.client_ref));
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_the_input_image() {
    for kind in ALL {
        let subject = given(kind);
        let submission = with_image(subject.submission("a paper boat"));
        let submitted = subject.provider.submit(&call(), &submission).await;
        assert!(submitted.is_ok(), "{}: {submitted:?}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_as_done_and_hands_out_every_byte() {
    for kind in ALL {
        let subject = given(kind);
        let job = subject.accepted("a paper boat").await;
        let status = ended(&*subject.provider, &job).await;
        let (bytes, length) = download(&*subject.provider, &output(&status)).await.unwrap();
        assert_eq!(length, Some(bytes.len() as u64), "{}", subject.name);
        assert_eq!(&bytes[4..8], b"ftyp", "{}", subject.name);
        assert!(longtake_media::probe(&bytes).is_ok(), "{}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_has_a_reason_of_the_closed_list() {
    for kind in ALL {
        let subject = given(kind);
        let job = subject.accepted(&format!("a paper boat {}", subject.fails_by)).await;
        match ended(&*subject.provider, &job).await.state {
            ProviderState::Failed(failure) => {
                assert_eq!(failure.code, subject.fails_with, "{}: {failure:?}", subject.name);
                assert!(!failure.message.is_empty(), "{}", subject.name);
            }
            other => panic!("{}: {other:?}", subject.name),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_on_an_unknown_status() {
    for kind in REMOTE {
        let subject = given_with(kind, |options| options.faults.unknown_status = 1.0);
        let job = subject.accepted("a paper boat").await;
        let status = subject.provider.poll(&call(), &job).await.unwrap();
        assert_eq!(status.state, ProviderState::Pending, "{}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_unknown_and_nothing_is_sent_again() {
    for kind in REMOTE {
        for (fault, accepted) in [
            (CreateFault::DropAfterAccept, 1),
            (CreateFault::DropBeforeAccept, 0),
            (CreateFault::ErrorAfterAccept, 1),
            (CreateFault::ErrorBeforeAccept, 0),
            (CreateFault::Garbage, 1),
        ] {
            let subject = given(kind);
            subject.simulator().set_faults(Faults::next(fault, 1));
            let answer = subject.provider.submit(&call(), &subject.submission("a paper boat")).await;
            assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{} {fault:?}: {answer:?}", subject.name);
            assert_eq!(subject.accepts(), accepted, "{} {fault:?}", subject.name);
            assert_eq!(subject.simulator().requests(), 1, "{} {fault:?}", subject.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_after_sending_is_unknown() {
    let simulator = Simulator::start(Options {
        faults: Faults { answer_delay_ms: 5_000, ..Faults::default() },
        ..Options::default()
    });
    let mut account = account("openai_compatible", Some(&format!("{}/v1", simulator.url())));
    account.options = object(json!({"submit_timeout_ms": 200}));
    let answer = remote(account).submit(&call(), &submission("sora-2", request("a paper boat", 4))).await;
    assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{answer:?}");
    assert_eq!(simulator.ledger().accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_was_not_sent() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (provider, path, model) in [("openai_compatible", "/v1", "sora-2"), ("minimax", "", "MiniMax-H3")] {
        let account = account(provider, Some(&format!("http://{closed}{path}")));
        let answer = remote(account).submit(&call(), &submission(model, request("a paper boat", 6))).await;
        assert!(matches!(answer, Err(ProviderError::NotSent { .. })), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_no_tls_or_has_no_name_was_not_sent_to() {
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in plain.incoming().take(4) {
            let _gone = std::io::Write::write_all(&mut stream.unwrap(), b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    // A label of 64 letters is no name, so nobody is asked for it.
    for base in [format!("https://{address}/v1"), format!("http://{}.test/v1", "a".repeat(64))] {
        let account = account("openai_compatible", Some(&base));
        let answer = remote(account).submit(&call(), &submission("sora-2", request("a paper boat", 4))).await;
        assert!(matches!(answer, Err(ProviderError::NotSent { .. })), "{base}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definite_reject_is_one_and_a_rate_limit_has_its_wait() {
    for kind in REMOTE {
        let subject = given(kind);
        subject.simulator().set_faults(Faults::script([CreateFault::Reject, CreateFault::RateLimited]));
        let answer = subject.provider.submit(&call(), &subject.submission("a paper boat")).await;
        match answer {
            Err(ProviderError::Rejected(failure)) => assert_eq!(failure.code, FailureCode::InvalidRequest),
            other => panic!("{}: {other:?}", subject.name),
        }
        let answer = subject.provider.submit(&call(), &subject.submission("a paper boat")).await;
        match answer {
            Err(ProviderError::RateLimited { retry_after }) if kind != Kind::MinimaxV1 => {
                assert_eq!(retry_after, Some(Duration::from_secs(1)), "{}", subject.name);
            }
            Err(ProviderError::RateLimited { .. }) => {}
            other => panic!("{}: {other:?}", subject.name),
        }
        assert_eq!(subject.accepts(), 0, "{}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_the_accounts_fault() {
    for kind in REMOTE {
        let subject = given_with(kind, |options| options.api_key = Some("another".to_owned()));
        let answer = subject.provider.submit(&call(), &subject.submission("a paper boat")).await;
        assert!(matches!(answer, Err(ProviderError::Account(_))), "{}: {answer:?}", subject.name);
        let answer = subject.provider.check_account(&call()).await;
        assert!(matches!(answer, Err(ProviderError::Account(_))), "{}: {answer:?}", subject.name);
    }
    for kind in ALL {
        let subject = given(kind);
        assert!(subject.provider.check_account(&call()).await.is_ok(), "{}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_submission_is_found_where_the_vendor_shows_it() {
    for kind in [Kind::Openai, Kind::OpenaiKeyed, Kind::VllmOmni, Kind::MinimaxV2] {
        let subject = given(kind);
        let since = now() - Duration::from_secs(1);
        // Others of another prompt, or of another shape, are not it.
        let mut other = request("another boat", 6);
        other.size = longtake_core::request::Size { width: 720, height: 1280 };
        subject.provider.submit(&call(), &submission(subject.model, other)).await.unwrap();
        subject.simulator().set_faults(Faults::next(CreateFault::DropAfterAccept, 1));
        let lost = subject.submission("a paper boat");
        assert!(subject.provider.submit(&call(), &lost).await.is_err());
        let found = subject.provider.find(&call(), &find_request(&lost, since)).await.unwrap();
        let ledger = subject.simulator().ledger().jobs();
        let candidates: Vec<&str> = found.candidates.iter().map(ProviderJobId::as_str).collect();
        assert_eq!(candidates, [ledger[1].provider_job.as_str()], "{}", subject.name);
        assert!(found.complete, "{}", subject.name);
    }
    let subject = given(Kind::Sandbox);
    let lost = subject.submission("a paper boat [sandbox hang]");
    let job = subject.provider.submit(&call(), &lost).await.unwrap();
    let found = subject.provider.find(&call(), &find_request(&lost, now())).await.unwrap();
    assert_eq!((found.candidates, found.complete), (vec![job], true));
}

#[tokio::test(flavor = "multi_thread")]
async fn absence_is_proved_only_where_the_vendor_would_show_it() {
    for kind in ALL {
        let subject = given(kind);
        let since = now() - Duration::from_secs(1);
        // Something else is there, so that a list without prompts has something to hide.
        subject.accepted("another boat [sandbox hang]").await;
        let mut wanted = request("a paper boat", subject.seconds);
        wanted.size = longtake_core::request::Size { width: 720, height: 1280 };
        let never_sent = submission(subject.model, wanted);
        let found = subject.provider.find(&call(), &find_request(&never_sent, since)).await.unwrap();
        assert!(found.candidates.is_empty(), "{}", subject.name);
        let shown = !matches!(kind, Kind::Sglang | Kind::MinimaxV1);
        assert_eq!(found.complete, shown, "{}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_reads_every_page_back_to_the_time_asked_for() {
    for kind in [Kind::Openai, Kind::MinimaxV2] {
        let subject = given(kind);
        let since = now() - Duration::from_secs(1);
        let first = subject.accepted("the first").await;
        for n in 0..120 {
            let mut other = request(&format!("boat {n}"), 6);
            other.size = longtake_core::request::Size { width: 720, height: 1280 };
            subject.provider.submit(&call(), &submission(subject.model, other)).await.unwrap();
        }
        let wanted = subject.submission("the first");
        let found = subject.provider.find(&call(), &find_request(&wanted, since)).await.unwrap();
        assert_eq!((found.candidates, found.complete), (vec![first], true), "{}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_submission_is_one_purchase_where_the_profile_says_so() {
    for kind in ALL {
        let subject = given(kind);
        let submission = subject.submission("a paper boat [sandbox hang]");
        let first = subject.provider.submit(&call(), &submission).await.unwrap();
        let second = subject.provider.submit(&call(), &submission).await.unwrap();
        let keyed = matches!(subject.profile().idempotency, Idempotency::Key { .. });
        assert_eq!(first == second, keyed, "{}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_job_is_not_found() {
    for kind in REMOTE {
        let subject = given(kind);
        let job = subject.accepted("a paper boat").await;
        subject.simulator().set_faults(Faults { forget: true, ..Faults::default() });
        let status = subject.provider.poll(&call(), &job).await.unwrap();
        assert_eq!(status.state, ProviderState::NotFound, "{}", subject.name);
    }
    let subject = given(Kind::Sandbox);
    for stranger in ["sbx_neverseen", "sbx_../../etc/passwd", "sbx_", "video_1"] {
        let status = subject.provider.poll(&call(), &ProviderJobId::new(stranger).unwrap()).await.unwrap();
        assert_eq!(status.state, ProviderState::NotFound, "{stranger}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_while_polling_proves_nothing() {
    for kind in REMOTE {
        let subject = given(kind);
        let job = subject.accepted("a paper boat").await;
        subject.simulator().set_faults(Faults { poll_error: 1.0, ..Faults::default() });
        let answer = subject.provider.poll(&call(), &job).await;
        assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{}: {answer:?}", subject.name);
        subject.simulator().set_faults(Faults { poll_drop: 1.0, ..Faults::default() });
        let answer = subject.provider.poll(&call(), &job).await;
        assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{}: {answer:?}", subject.name);
        subject.simulator().set_faults(Faults { poll_rate_limited: 1.0, ..Faults::default() });
        let answer = subject.provider.poll(&call(), &job).await;
        assert!(matches!(answer, Err(ProviderError::RateLimited { .. })), "{}: {answer:?}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_the_vendors_own_figure_or_none() {
    for kind in REMOTE {
        let subject = given_with(kind, |options| options.duration_ms = 600_000);
        let job = subject.accepted("a paper boat").await;
        for (report, shown) in
            [(ProgressReport::OverHundred, None), (ProgressReport::Zero, None), (ProgressReport::NinetyNine, Some(99))]
        {
            subject.simulator().set_faults(Faults { progress: report, ..Faults::default() });
            let status = subject.provider.poll(&call(), &job).await.unwrap();
            let shown = shown.filter(|_| !matches!(kind, Kind::MinimaxV1 | Kind::MinimaxV2));
            assert_eq!(status.progress, shown, "{} {report:?}", subject.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_the_vendor_asks_for_reaches_the_engine() {
    for kind in [Kind::Openai, Kind::VllmOmni, Kind::MinimaxV2] {
        let subject = given_with(kind, |options| options.faults.poll_retry_after_secs = Some(7));
        let job = subject.accepted("a paper boat").await;
        let status = subject.provider.poll(&call(), &job).await.unwrap();
        assert_eq!(status.retry_after, Some(Duration::from_secs(7)), "{}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_tells_what_it_did() {
    // Where the vendor stops what is queued, it says so; what it does with running work differs.
    for (kind, running) in [(Kind::VllmOmni, CancelAnswer::Stopped), (Kind::MinimaxV2, CancelAnswer::NotStoppable)] {
        let subject = given_with(kind, |options| options.queue_ms = 600_000);
        let job = subject.accepted("a queued boat").await;
        assert_eq!(subject.provider.cancel(&call(), &job).await.unwrap(), CancelAnswer::Stopped, "{}", subject.name);
        assert!(subject.simulator().ledger().ending(job.as_str()).is_some());
        let subject = given_with(kind, |options| options.duration_ms = 600_000);
        let job = subject.accepted("a running boat").await;
        assert_eq!(subject.provider.cancel(&call(), &job).await.unwrap(), running, "{}", subject.name);
    }
    // Where it does not, nothing is asked of it.
    for kind in [Kind::Openai, Kind::Sglang, Kind::MinimaxV1] {
        let subject = given_with(kind, |options| options.duration_ms = 600_000);
        let job = subject.accepted("a paper boat").await;
        let answer = subject.provider.cancel(&call(), &job).await.unwrap();
        assert_eq!(answer, CancelAnswer::NotStoppable, "{}", subject.name);
        let vendors = job.as_str().trim_start_matches("v1:");
        assert_eq!(subject.simulator().ledger().ending(vendors), None, "{}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_never_destroys_a_finished_result() {
    for kind in [Kind::VllmOmni, Kind::MinimaxV2, Kind::Sandbox] {
        let subject = given(kind);
        let job = subject.accepted("a paper boat [sandbox duration=1ms]").await;
        let status = ended(&*subject.provider, &job).await;
        let answer = subject.provider.cancel(&call(), &job).await.unwrap();
        assert_eq!(answer, CancelAnswer::AlreadyFinished, "{}", subject.name);
        assert!(download(&*subject.provider, &output(&status)).await.is_ok(), "{}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_link_is_gone_and_the_next_one_works() {
    for kind in REMOTE {
        for dead in [403, 404, 410] {
            let subject = given(kind);
            let job = subject.accepted("a paper boat").await;
            let status = ended(&*subject.provider, &job).await;
            let faults = Faults { result_stale_fetches: 1, result_stale_status: dead, ..Faults::default() };
            subject.simulator().set_faults(faults);
            let answer = download(&*subject.provider, &output(&status)).await;
            // A server's own `/content` says 403 about the key, not about the link.
            let content = dead == 403 && !matches!(kind, Kind::MinimaxV1 | Kind::MinimaxV2);
            match answer {
                Err(ProviderError::Gone) if !content => {}
                Err(ProviderError::Account(_)) if content => {}
                other => panic!("{} {dead}: {:?}", subject.name, other.map(|_| ())),
            }
            let status = ended(&*subject.provider, &job).await;
            assert!(download(&*subject.provider, &output(&status)).await.is_ok(), "{}", subject.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_result_and_a_page_are_no_video() {
    for kind in REMOTE {
        let subject = given(kind);
        let job = subject.accepted("a paper boat").await;
        let output = output(&ended(&*subject.provider, &job).await);
        for faults in [
            Faults { result_truncated: 1.0, ..Faults::default() },
            Faults { result_html: 1.0, ..Faults::default() },
            Faults { result_error: 1.0, ..Faults::default() },
        ] {
            subject.simulator().set_faults(faults);
            let answer = download(&*subject.provider, &output).await;
            let answer = answer.map(|(bytes, _)| bytes.len());
            assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{}: {answer:?}", subject.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn never_records_the_key_the_prompt_or_a_query() {
    const PROMPT: &str = "a very private paper boat";
    for kind in ALL {
        let subject = given_with(kind, |options| options.list_prompt = Some(true));
        let calls = [call(), call(), call(), call(), call(), call()];
        let submission = subject.submission(PROMPT);
        if let Some(simulator) = &subject.simulator {
            simulator.set_faults(Faults::next(CreateFault::Reject, 1));
            let refused = subject.provider.submit(&calls[0], &submission).await.unwrap_err();
            assert!(!format!("{refused:?}").contains(KEY), "{}", subject.name);
        }
        let job = subject.provider.submit(&calls[1], &submission).await.unwrap();
        subject.provider.find(&calls[2], &find_request(&submission, now())).await.unwrap();
        subject.provider.poll(&calls[3], &job).await.unwrap();
        let status = ended(&*subject.provider, &job).await;
        subject.provider.fetch(&calls[4], &output(&status)).await.unwrap();
        subject.provider.cancel(&calls[5], &job).await.unwrap();
        let mut recorded = 0;
        for call in calls {
            for exchange in call.into_exchanges() {
                recorded += 1;
                let text = format!("{exchange:?}");
                for secret in [KEY, PROMPT, "Bearer", "?limit", "?at=", "page_num"] {
                    assert!(!text.contains(secret), "{}: {secret} in {text}", subject.name);
                }
                assert!(exchange.answer.len() <= longtake_core::provider::Exchange::MAX_EXCERPT_BYTES);
            }
        }
        assert!(recorded >= 3, "{}", subject.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_says_what_the_account_overrides() {
    let mut account = account("openai_compatible", Some("http://127.0.0.1:9/v1"));
    (account.poll_first_ms, account.poll_ceiling_ms) = (Some(1_000), Some(1_000));
    (account.absence_settle_ms, account.verify_deadline_ms) = (Some(5_000), Some(9_000));
    (account.lookup, account.idempotency) = (Some("none".to_owned()), Some("key".to_owned()));
    let provider = remote(account);
    let profile = provider.profile(longtake_core::id::AccountId(1));
    assert_eq!((profile.poll_first, profile.poll_ceiling), (Duration::from_secs(1), Duration::from_secs(1)));
    assert_eq!((profile.absence_settle, profile.verify_deadline), (Duration::from_secs(5), Duration::from_secs(9)));
    assert_eq!(profile.lookup, Lookup::None);
    assert!(matches!(profile.idempotency, Idempotency::Key { .. }));
}

/// Front doors forward what a provider knows: a name is known exactly if some value of it can be sent.
#[tokio::test(flavor = "multi_thread")]
async fn knows_the_options_that_it_takes_and_no_others() {
    const NAMES: &str = "fps|seed|negative_prompt|prompt_optimizer|fast_pretreatment|resolution|ratio|aigc_watermark|\
                         prompt_expansion_mode|prompt|n|output_path|image_url|a b|";
    let values = [json!(7), json!(true), json!("words"), json!("768P"), json!("16:9"), json!("balanced")];
    for kind in ALL {
        let subject = given(kind);
        let account = longtake_core::id::AccountId(1);
        let takes = |name: &str, value: &serde_json::Value| {
            let mut asked = request("a paper boat", subject.seconds);
            asked.provider_options = Some(json!({ name: value }).to_string().into());
            subject.provider.check(account, subject.model, &asked).is_ok()
        };
        let mut known = 0;
        for name in NAMES.split('|') {
            let taken = values.iter().any(|value| takes(name, value));
            let known_as = subject.provider.knows_option(account, subject.model, name);
            assert_eq!(known_as, taken, "{}: {name:?}", subject.name);
            known += usize::from(taken);
        }
        assert!(known > 0, "{}", subject.name);
    }
}
