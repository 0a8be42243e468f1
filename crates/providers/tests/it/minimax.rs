//! Every documented status and code of both wires, and what it means.

use bytes::Bytes;
use longtake_core::failure::FailureCode;
use longtake_core::id::{AccountId, ProviderJobId};
use longtake_core::provider::{Callback, InputSupport, ProviderError, ProviderState, ProviderStatus, Unsupported};
use longtake_core::request::Size;
use longtake_core::time::Timestamp;
use longtake_providers::http::Answer;
use longtake_providers::minimax::lookup::{Next, Search};
use longtake_providers::minimax::models::{MODELS, Model, Wire};
use longtake_providers::minimax::options::wanted;
use longtake_providers::minimax::wire::Listed;
use longtake_providers::minimax::{answers, callback};
use longtake_providers::registry::AccountConfig;
use serde_json::json;

use crate::canned::{self, Canned};
use crate::support::*;

/// A fixture of the adapter's folder.
pub fn fixture(name: &str) -> Bytes {
    let path = format!("{}/src/minimax/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")).into()
}

fn clean(text: &str) -> String {
    text.to_owned()
}

/// The time of the fixtures.
const THEN: Timestamp = Timestamp::from_micros(1_795_400_060 * 1_000_000);

fn submitted(status: u16, name: &str, wire: Wire) -> Result<ProviderJobId, ProviderError> {
    answers::submission(&Answer::new(status, fixture(name)), wire, &clean)
}

fn second(status: u16, name: &str) -> Result<ProviderStatus, ProviderError> {
    answers::second_status(&Answer::new(status, fixture(name)), THEN, &clean)
}

fn first(name: &str) -> Result<ProviderStatus, ProviderError> {
    answers::first_status(&Answer::new(200, fixture(name)), &clean)
}

fn code(state: ProviderState) -> FailureCode {
    match state {
        ProviderState::Failed(failure) => failure.code,
        other => panic!("not failed: {other:?}"),
    }
}

/// What an answer to a create proves, in one word.
fn word(answer: &Result<ProviderJobId, ProviderError>) -> &'static str {
    match answer {
        Ok(_) => "accepted",
        Err(ProviderError::Rejected(failure)) => failure.code.code(),
        Err(ProviderError::Account(failure)) if failure.code == FailureCode::ProviderQuota => "quota",
        Err(ProviderError::Account(_)) => "account",
        Err(ProviderError::RateLimited { .. }) => "rate limited",
        Err(ProviderError::Unknown { .. }) => "unknown",
        Err(ProviderError::NotSent { .. } | ProviderError::Gone) => "impossible",
    }
}

#[test]
fn an_accepted_create_gives_its_id() {
    assert_eq!(submitted(200, "v2_submit_accepted", Wire::V2).unwrap().as_str(), "2876543210987654");
    assert_eq!(submitted(200, "v1_submit_accepted", Wire::V1).unwrap().as_str(), "v1:106916112212032");
    let number = answers::submission(&Answer::new(200, "{\"task_id\":18446744073709551615}"), Wire::V2, &clean);
    assert_eq!(number.unwrap().as_str(), "18446744073709551615");
}

#[test]
fn every_documented_code_of_the_second_wire_is_mapped() {
    let documented = [
        (400, "v2_error_400_2013", "invalid_request"),
        (400, "v2_error_400_2013_callback", "rate limited"),
        (401, "v2_error_401_1004", "account"),
        (402, "v2_error_402_1008", "quota"),
        (422, "v2_error_422_1026", "content_policy"),
        (429, "v2_error_429_1002", "rate limited"),
        (500, "v2_error_500_1000", "unknown"),
        (529, "v2_error_529", "rate limited"),
    ];
    for (status, name, meaning) in documented {
        assert_eq!(word(&submitted(status, name, Wire::V2)), meaning, "{name}");
    }
}

#[test]
fn every_documented_code_of_the_first_wire_is_mapped_although_http_says_200() {
    let documented = [
        (1000, "unknown"),
        (1001, "unknown"),
        (1002, "rate limited"),
        (1004, "account"),
        (1008, "quota"),
        (1013, "invalid_request"),
        (1024, "unknown"),
        (1026, "content_policy"),
        (1027, "content_policy"),
        (1033, "unknown"),
        (1039, "rate limited"),
        (1041, "rate limited"),
        (2013, "invalid_request"),
        (2045, "rate limited"),
        (2049, "account"),
        (2056, "quota"),
    ];
    for (code, meaning) in documented {
        assert_eq!(word(&submitted(200, &format!("v1_error_{code}"), Wire::V1)), meaning, "{code}");
    }
}

#[test]
fn what_proves_nothing_about_a_create_is_unknown() {
    for status in [100, 300, 302, 408, 409, 410, 499, 500, 502, 503, 504, 529, 599] {
        for wire in [Wire::V1, Wire::V2] {
            let answer = answers::submission(&Answer::new(status, "<html>"), wire, &clean);
            assert_eq!(word(&answer), "unknown", "{status}");
        }
    }
    let bodies = [
        "",
        "{}",
        "[]",
        "null",
        "<html>",
        "{\"task_id\":\"\"}",
        "{\"task_id\":null}",
        "{\"task_id\":1.5}",
        "{\"task_id\":\"a\\u0000\"}",
        "{\"task_id\":\"..\"}",
        "{\"task_id\":\"7\"",
        "{\"task_id\":\"\",\"base_resp\":{\"status_code\":0}}",
        "{\"task_id\":\"7\",\"base_resp\":{\"status_code\":31337}}",
    ];
    for body in bodies {
        for wire in [Wire::V1, Wire::V2] {
            assert_eq!(word(&answers::submission(&Answer::new(200, body), wire, &clean)), "unknown", "{body}");
        }
    }
}

#[test]
fn every_status_of_the_second_wire_is_mapped_and_unknown_ones_wait() {
    for name in ["v2_poll_queued", "v2_poll_running", "v2_poll_unknown_status", "v2_poll_succeeded_without_url"] {
        assert_eq!(second(200, name).unwrap().state, ProviderState::Pending, "{name}");
    }
    let done = second(200, "v2_poll_succeeded").unwrap();
    assert_eq!(&*output(&done).source, "https://video-product.example.test/2876.mp4?Expires=1795486400&Signature=abc");
    let failures = [
        ("v2_poll_failed_1026", FailureCode::ContentPolicy),
        ("v2_poll_failed_1027", FailureCode::ContentPolicy),
        ("v2_poll_failed_2013", FailureCode::InvalidRequest),
        ("v2_poll_failed_1008", FailureCode::ProviderQuota),
        ("v2_poll_failed_1000", FailureCode::ProviderError),
        ("v2_poll_cancelled", FailureCode::ProviderError),
        ("v2_poll_expired", FailureCode::ExpiredUpstream),
    ];
    for (name, expected) in failures {
        assert_eq!(code(second(200, name).unwrap().state), expected, "{name}");
    }
    assert_eq!(second(400, "v2_poll_invalid_task_id").unwrap().state, ProviderState::NotFound);
    assert!(matches!(second(401, "v2_error_401_1004"), Err(ProviderError::Account(_))));
    assert!(matches!(second(429, "v2_error_429_1002"), Err(ProviderError::RateLimited { .. })));
    assert!(matches!(second(529, "v2_error_529"), Err(ProviderError::RateLimited { .. })));
    assert!(matches!(second(500, "v2_error_500_1000"), Err(ProviderError::Unknown { .. })));
}

#[test]
fn a_success_that_never_gets_its_url_is_a_failure_in_the_end() {
    let answer = Answer::new(200, fixture("v2_poll_succeeded_without_url"));
    let later = Timestamp::from_micros((1_795_400_031 + 601) * 1_000_000);
    let status = answers::second_status(&answer, later, &clean).unwrap();
    assert_eq!(code(status.state), FailureCode::ProviderError);
}

#[test]
fn every_status_of_the_first_wire_is_mapped_and_unknown_ones_wait() {
    for name in ["v1_poll_preparing", "v1_poll_queueing", "v1_poll_processing", "v1_poll_unknown_status"] {
        assert_eq!(first(name).unwrap().state, ProviderState::Pending, "{name}");
    }
    assert_eq!(&*output(&first("v1_poll_success").unwrap()).source, "file:205258526306433");
    assert_eq!(code(first("v1_poll_fail_1027").unwrap().state), FailureCode::ContentPolicy);
    assert_eq!(code(first("v1_poll_fail_1000").unwrap().state), FailureCode::ProviderError);
    assert_eq!(code(first("v1_poll_fail_without_code").unwrap().state), FailureCode::ProviderError);
    assert_eq!(first("v1_poll_invalid_task_id").unwrap().state, ProviderState::NotFound);
    assert!(matches!(first("v1_error_1002"), Err(ProviderError::RateLimited { .. })));
    assert!(matches!(first("v1_error_1004"), Err(ProviderError::Account(_))));
    assert!(matches!(first("v1_error_1024"), Err(ProviderError::Unknown { .. })));
}

#[test]
fn a_file_has_an_address_or_is_gone() {
    let url = answers::download_url(&Answer::new(200, fixture("v1_file"))).unwrap();
    assert!(url.starts_with("https://files.example.test/"));
    assert!(matches!(answers::download_url(&Answer::new(200, fixture("v1_file_unknown"))), Err(ProviderError::Gone)));
    assert!(matches!(answers::download_url(&Answer::new(200, "{}")), Err(ProviderError::Unknown { .. })));
}

#[test]
fn a_request_is_put_into_the_vendors_words() {
    let h3 = Model::by_name("MiniMax-H3").unwrap();
    let shaped = |width, height| {
        let mut wanted_request = request("p", 6);
        wanted_request.size = Size { width, height };
        wanted(h3, &wanted_request).map(|wanted| (wanted.resolution, wanted.ratio))
    };
    assert_eq!(shaped(1280, 720), Ok(("768P", Some("16:9"))));
    assert_eq!(shaped(720, 1280), Ok(("768P", Some("9:16"))));
    assert_eq!(shaped(2560, 1440), Ok(("2K", Some("16:9"))));
    assert!(shaped(1920, 1080).is_err_and(|error| &*error.param == "size"));
    let mut given = request("p", 6);
    given.provider_options = Some(r#"{"resolution":"2K","ratio":"21:9","aigc_watermark":true}"#.into());
    let told = wanted(h3, &given).unwrap();
    assert_eq!((told.resolution, told.ratio, told.aigc_watermark), ("2K", Some("21:9"), Some(true)));
}

#[test]
fn what_a_model_cannot_do_is_refused_before_it_costs_anything() {
    let cases: [(&str, u32, Option<&str>, &str); 9] = [
        ("MiniMax-H3", 3, None, "seconds"),
        ("MiniMax-H3", 16, None, "seconds"),
        ("MiniMax-H3-Max", 4, None, "seconds"),
        ("MiniMax-H3", 6, Some(r#"{"resolution":"480P"}"#), "provider_options.resolution"),
        ("MiniMax-H3", 6, Some(r#"{"prompt_expansion_mode":"quality"}"#), "provider_options.prompt_expansion_mode"),
        ("MiniMax-H3", 6, Some(r#"{"callback_url":"http://x"}"#), "provider_options.callback_url"),
        ("MiniMax-Hailuo-2.3", 10, Some(r#"{"resolution":"1080P"}"#), "seconds"),
        ("MiniMax-Hailuo-02", 6, Some(r#"{"resolution":"512P"}"#), "size"),
        ("MiniMax-Hailuo-2.3-Fast", 6, None, "input_reference"),
    ];
    for (model, seconds, options, param) in cases {
        let mut asked = request("p", seconds);
        asked.provider_options = options.map(Into::into);
        let refused = wanted(Model::by_name(model).unwrap(), &asked).map(|_| ());
        assert_eq!(refused.as_ref().map_err(|error| &*error.param), Err(param), "{model} {options:?}: {refused:?}");
    }
    let mode = Some(r#"{"prompt_expansion_mode":"quality"}"#.into());
    let mut asked = request("p", 6);
    asked.provider_options = mode;
    assert!(wanted(Model::by_name("MiniMax-H3-Max").unwrap(), &asked).is_ok());
}

#[test]
fn every_model_takes_its_own_defaults() {
    let provider = remote(account("minimax", Some("http://127.0.0.1:9")));
    for model in &MODELS {
        let capabilities = provider.capabilities(AccountId(1), model.name).unwrap();
        let mut asked = request("p", capabilities.default_seconds);
        asked.size = capabilities.default_size;
        let checked = provider.check(AccountId(1), model.name, &asked);
        let needs = capabilities.input_image == InputSupport::Required;
        assert_eq!(
            checked.as_ref().map_err(|Unsupported { param, .. }| &**param).err(),
            needs.then_some("input_reference"),
            "{}",
            model.name
        );
    }
    assert!(provider.capabilities(AccountId(1), "sora-2").is_none());
}

fn search(since: i64, pages: &[Listed]) -> (Vec<String>, bool) {
    let wanted = wanted(Model::by_name("MiniMax-H3").unwrap(), &request("p", 6)).unwrap();
    let mut search = Search::new("MiniMax-H3", &wanted, 6, Timestamp::from_micros(since * 1_000_000));
    let mut covered = false;
    for page in pages {
        covered = search.read(page) == Next::Covered;
    }
    let found = search.finish(covered);
    (found.candidates.iter().map(ToString::to_string).collect(), found.complete)
}

#[test]
fn a_look_up_compares_all_that_the_list_shows() {
    let list = || serde_json::from_slice::<Listed>(&fixture("v2_list")).unwrap();
    // Only "3" has the right class and kind.
    assert_eq!(search(1_795_400_000, &[list()]), (vec!["3".to_owned()], true));
    assert_eq!(search(1_795_400_100, &[list()]), (vec![], true));
    let part: Listed = serde_json::from_value(json!({"items": [{"id": "9", "created_at": 100}], "total": 5})).unwrap();
    assert_eq!(search(50, &[part]), (vec!["9".to_owned()], false));
    let undated: Listed = serde_json::from_value(json!({"items": [{"id": "9"}], "total": 1})).unwrap();
    assert_eq!(search(50, &[undated]), (vec![], false));
    let short: Listed = serde_json::from_value(json!({"items": [], "total": 5})).unwrap();
    assert_eq!(search(50, &[short]), (vec![], false));
}

#[tokio::test]
async fn creates_have_the_documented_bodies() {
    let server = Canned::start(|asked| match asked.line() {
        "POST /v2/video_generation" => canned::answer(200, &[], fixture("v2_submit_accepted")),
        _ => canned::answer(200, &[], fixture("v1_submit_accepted")),
    })
    .await;
    let provider = remote(account("minimax", Some(&server.url())));
    provider.submit(&call(), &submission("MiniMax-H3", request("a paper boat", 6))).await.unwrap();
    provider.submit(&call(), &with_image(submission("MiniMax-H3", request("a paper boat", 6)))).await.unwrap();
    let mut hailuo = request("a paper boat", 10);
    hailuo.provider_options = Some(r#"{"prompt_optimizer":false}"#.into());
    provider.submit(&call(), &submission("MiniMax-Hailuo-2.3", hailuo)).await.unwrap();
    let bodies: Vec<serde_json::Value> =
        server.asked().iter().map(|asked| serde_json::from_str(&asked.body).unwrap()).collect();
    let text = json!({"type": "text", "text": "a paper boat"});
    let expected =
        json!({"model": "MiniMax-H3", "content": [text], "resolution": "768P", "duration": 6, "ratio": "16:9"});
    assert_eq!(bodies[0], expected);
    assert_eq!(bodies[1]["content"][1]["role"], "first_frame");
    assert!(bodies[1]["content"][1]["image_url"]["url"].as_str().unwrap().starts_with("data:image/png;base64,iVBOR"));
    assert_eq!(bodies[1].get("ratio"), None);
    let expected = json!({"model": "MiniMax-Hailuo-2.3", "prompt": "a paper boat", "duration": 10, "resolution": "768P", "prompt_optimizer": false});
    assert_eq!(bodies[2], expected);
}

#[tokio::test]
async fn a_cancel_deletes_only_what_is_queued() {
    let server = Canned::start(|asked| match asked.line() {
        "GET /v2/query/video_generation/queued" => canned::answer(200, &[], fixture("v2_poll_queued")),
        "GET /v2/query/video_generation/began" => canned::answer(200, &[], fixture("v2_poll_queued")),
        "GET /v2/query/video_generation/running" => canned::answer(200, &[], fixture("v2_poll_running")),
        "GET /v2/query/video_generation/done" => canned::answer(200, &[], fixture("v2_poll_succeeded")),
        "DELETE /v2/video_generation/queued" => canned::answer(200, &[], fixture("v2_delete_queued")),
        _ => canned::answer(400, &[], fixture("v2_delete_running")),
    })
    .await;
    let provider = remote(account("minimax", Some(&server.url())));
    for (id, expected) in
        [("queued", "Stopped"), ("began", "NotStoppable"), ("running", "NotStoppable"), ("done", "AlreadyFinished")]
    {
        let answer = provider.cancel(&call(), &ProviderJobId::new(id).unwrap()).await.unwrap();
        assert_eq!(format!("{answer:?}"), expected, "{id}");
    }
    let deletes: Vec<String> =
        server.asked().iter().map(|asked| asked.line().to_owned()).filter(|line| line.starts_with("DELETE")).collect();
    assert_eq!(deletes, ["DELETE /v2/video_generation/queued", "DELETE /v2/video_generation/began"]);
}

fn called(body: &serde_json::Value) -> Callback {
    callback::read(body.to_string().as_bytes(), |_| "kept".into())
}

/// The job a call names, and whether it says that the job goes on.
fn news(body: &serde_json::Value) -> (String, bool) {
    match called(body) {
        Callback::News(news) => (news.provider_job.unwrap().as_str().to_owned(), news.pending),
        other => panic!("no news: {other:?}"),
    }
}

#[test]
fn a_challenge_is_echoed_and_no_long_one() {
    assert_eq!(called(&json!({"challenge": "a\"b"})), Callback::Challenge(r#"{"challenge":"a\"b"}"#.into()));
    let longest = "x".repeat(callback::MAX_CHALLENGE_BYTES);
    assert!(matches!(called(&json!({ "challenge": longest })), Callback::Challenge(_)));
    for odd in [
        json!({"challenge": longest + "x"}),
        json!({"challenge": 7}),
        json!({"challenge": "a", "task_id": "1"}),
        json!({"challenge": "a", "task": {"id": "1"}}),
    ] {
        assert_eq!(called(&odd), Callback::Refused, "{odd}");
    }
}

#[test]
fn a_call_of_the_second_wire_is_the_answer_to_a_query() {
    let queried = |name: &str| serde_json::from_slice(&fixture(name)).unwrap();
    for (name, pending) in [
        ("v2_poll_queued", true),
        ("v2_poll_running", true),
        ("v2_poll_succeeded", false),
        ("v2_poll_failed_1026", false),
        ("v2_poll_cancelled", false),
        ("v2_poll_expired", false),
        // A new word is worth a look.
        ("v2_poll_unknown_status", false),
    ] {
        let body: serde_json::Value = queried(name);
        let id = body["task"]["id"].as_str().unwrap().to_owned();
        assert_eq!(news(&body), (id, pending), "{name}");
    }
}

#[test]
fn a_call_of_the_first_wire_has_words_of_its_own() {
    let call =
        |status: &str| json!({"task_id": "106", "status": status, "file_id": "", "base_resp": {"status_code": 0}});
    assert_eq!(news(&call("processing")), ("v1:106".to_owned(), true));
    for over in ["success", "failed", "Success", "strange"] {
        assert_eq!(news(&call(over)), ("v1:106".to_owned(), false), "{over}");
    }
}

#[test]
fn what_is_no_call_is_refused() {
    for odd in [
        json!({}),
        json!([]),
        json!(null),
        json!("challenge"),
        json!({"task": {}}),
        json!({"task": {"id": ""}}),
        json!({"task": {"id": ".."}}),
        json!({"task": {"id": {"a": 1}}}),
        json!({"task_id": "."}),
    ] {
        assert_eq!(called(&odd), Callback::Refused, "{odd}");
    }
    for broken in [&b""[..], b"{", b"\xff\xfe", b"{\"challenge\":\"a\",\"challenge\":\"b\"}"] {
        assert_eq!(callback::read(broken, |_| "".into()), Callback::Refused, "{broken:?}");
    }
}

#[test]
fn polls_are_rare_where_changes_are_called_back_unless_the_account_says_how_often() {
    let profile = |change: &dyn Fn(&mut AccountConfig)| {
        let mut account = account("minimax", Some("http://127.0.0.1:9"));
        change(&mut account);
        let id = account.id;
        remote(account).profile(id).clone()
    };
    let without = profile(&|_| {});
    assert_eq!((without.callback, without.poll_quiet), (false, None));
    let with = profile(&|account| account.callbacks = true);
    assert_eq!((with.callback, with.poll_quiet), (true, Some(without.poll_ceiling * 30)));
    assert!(with.verify_deadline > without.verify_deadline, "a first call may come late");
    let told = profile(&|account| (account.callbacks, account.poll_ceiling_ms) = (true, Some(20_000)));
    assert_eq!((told.callback, told.poll_quiet), (true, None));
}
