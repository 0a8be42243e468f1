//! Every documented answer of the Videos shape, and what it means.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use longtake_core::failure::FailureCode;
use longtake_core::id::{AccountId, JobId, ProviderJobId};
use longtake_core::provider::{FindRequest, ProviderError, ProviderState, ProviderStatus};
use longtake_core::request::{Source, SourceKind, VideoRequest};
use longtake_core::time::Timestamp;
use longtake_providers::http::Answer;
use longtake_providers::openai_compatible::answers;
use longtake_providers::openai_compatible::lookup::{Next, Search};
use longtake_providers::openai_compatible::wire::Page;
use serde_json::json;

use crate::canned::{self, Canned};
use crate::support::*;

/// A fixture of the adapter's folder.
pub fn fixture(name: &str) -> Bytes {
    let path = format!("{}/src/openai_compatible/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")).into()
}

fn clean(text: &str) -> String {
    text.replace(KEY, "[key]")
}

fn submitted(status: u16, name: &str) -> Result<ProviderJobId, ProviderError> {
    answers::submission(&Answer::new(status, fixture(name)), &clean)
}

fn polled(status: u16, name: &str) -> Result<ProviderStatus, ProviderError> {
    answers::status(&Answer::new(status, fixture(name)), &ProviderJobId::new("video_abc").unwrap(), &clean)
}

fn failure(status: u16, name: &str) -> FailureCode {
    match polled(status, name).unwrap().state {
        ProviderState::Failed(failure) => failure.code,
        other => panic!("{name}: {other:?}"),
    }
}

fn source(name: &str) -> String {
    match polled(200, name).unwrap().state {
        ProviderState::Done(outputs) => outputs[0].source.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn an_accepted_create_gives_its_id() {
    for (name, id) in [
        ("submit_accepted_openai", "video_abc"),
        ("submit_accepted_sglang", "7d1f0c1e-6f0d-4a53-9a35-2d5b6c8f0001"),
        ("submit_accepted_vllm_omni", "video_gen_5f2a9c"),
    ] {
        for status in [200, 201, 202] {
            assert_eq!(submitted(status, name).unwrap().as_str(), id, "{name}");
        }
    }
}

#[test]
fn a_refused_create_is_what_its_status_and_code_prove() {
    let rejected = [
        (400, "submit_invalid_400", FailureCode::InvalidRequest),
        (400, "submit_moderation_400", FailureCode::ContentPolicy),
        (400, "submit_bad_input_400_sglang", FailureCode::InvalidRequest),
        (422, "submit_unprocessable_422", FailureCode::InvalidRequest),
        (413, "submit_invalid_400", FailureCode::InvalidRequest),
        (403, "submit_moderation_400", FailureCode::ContentPolicy),
    ];
    for (status, name, code) in rejected {
        match submitted(status, name) {
            Err(ProviderError::Rejected(failure)) => assert_eq!(failure.code, code, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let accounts = [
        (401, "submit_wrong_key_401", FailureCode::ProviderError),
        (403, "submit_forbidden_403", FailureCode::ProviderError),
        (402, "submit_forbidden_403", FailureCode::ProviderQuota),
        (404, "submit_unknown_model_404", FailureCode::ProviderError),
        (405, "submit_unknown_model_404", FailureCode::ProviderError),
        (429, "submit_quota_429", FailureCode::ProviderQuota),
    ];
    for (status, name, code) in accounts {
        match submitted(status, name) {
            Err(ProviderError::Account(failure)) => {
                assert_eq!(failure.code, code, "{name}");
                assert!(!failure.message.contains(KEY), "{name}: {}", failure.message);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(matches!(submitted(429, "submit_rate_limited_429"), Err(ProviderError::RateLimited { .. })));
}

#[test]
fn what_proves_nothing_about_a_create_is_unknown() {
    let fixtures = ["submit_conflict_409", "submit_server_error_500", "submit_scheduler_503_sglang"];
    for name in fixtures {
        for status in [100, 300, 302, 408, 409, 410, 418, 423, 425, 499, 500, 502, 503, 504, 520, 524, 529, 599] {
            let answer = submitted(status, name);
            assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{status} {name}: {answer:?}");
        }
    }
    // A success that names no job, or one that cannot be asked for again.
    let bodies = [
        "",
        "{}",
        "[]",
        "null",
        "OK",
        "<html>",
        "{\"id\":null}",
        "{\"id\":\"\"}",
        "{\"id\":7}",
        "{\"id\":\"a\\nb\"}",
        "{\"id\":\"..\"}",
        "{\"id\":\"x\",\"object\":\"error\"}",
        "{\"id\":\"x\",\"object\":\"list\",\"data\":[]}",
        "{\"error\":{\"message\":\"x\"}}",
        "{\"id\":\"x\"",
    ];
    for body in bodies {
        let answer = answers::submission(&Answer::new(200, body), &clean);
        assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{body}: {answer:?}");
    }
    let long = format!("{{\"id\":\"{}\"}}", "x".repeat(513));
    assert!(matches!(answers::submission(&Answer::new(200, long), &clean), Err(ProviderError::Unknown { .. })));
}

#[test]
fn every_status_word_is_mapped_and_unknown_ones_wait() {
    for name in ["poll_queued", "poll_in_progress", "poll_unknown_status"] {
        assert_eq!(polled(200, name).unwrap().state, ProviderState::Pending, "{name}");
    }
    assert_eq!(polled(200, "poll_in_progress").unwrap().progress, Some(37));
    assert_eq!(polled(200, "poll_queued").unwrap().progress, None);
    assert_eq!(source("poll_completed"), "content:video_abc");
    assert_eq!(source("poll_completed_vllm_omni"), "content:video_abc");
    assert_eq!(source("poll_completed_sglang_cloud"), "https://bucket.example.test/7d1f.mp4?X-Amz-Signature=abc");
    for (word, code) in [
        ("cancelled", FailureCode::ProviderError),
        ("canceled", FailureCode::ProviderError),
        ("expired", FailureCode::ExpiredUpstream),
    ] {
        let body = json!({"id": "video_abc", "object": "video", "status": word}).to_string();
        let status = answers::status(&Answer::new(200, body), &ProviderJobId::new("video_abc").unwrap(), &clean);
        assert!(matches!(status.unwrap().state, ProviderState::Failed(failure) if failure.code == code), "{word}");
    }
}

#[test]
fn a_failed_video_has_its_reason() {
    assert_eq!(failure(200, "poll_failed_moderation"), FailureCode::ContentPolicy);
    assert_eq!(failure(200, "poll_failed_internal"), FailureCode::ProviderError);
    assert_eq!(failure(200, "poll_failed_invalid_image"), FailureCode::InvalidRequest);
    assert_eq!(failure(200, "poll_failed_sglang"), FailureCode::ProviderError);
}

#[test]
fn the_body_of_a_failed_video_counts_before_the_http_status() {
    for status in [200, 400, 404, 500, 503] {
        assert_eq!(failure(status, "poll_failed_vllm_omni_500"), FailureCode::ProviderError, "{status}");
        assert_eq!(failure(status, "poll_failed_vllm_omni_404"), FailureCode::InvalidRequest, "{status}");
    }
    // And so does that of one that is not failed.
    assert_eq!(polled(500, "poll_in_progress").unwrap().state, ProviderState::Pending);
}

#[test]
fn an_answer_without_a_video_is_an_error_or_not_found() {
    assert_eq!(polled(404, "poll_not_found_404").unwrap().state, ProviderState::NotFound);
    for status in [200, 400, 408, 409, 500, 502, 503] {
        let answer = polled(status, "poll_not_found_404");
        assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{status}: {answer:?}");
    }
    assert!(matches!(polled(401, "submit_wrong_key_401"), Err(ProviderError::Account(_))));
    assert!(matches!(polled(429, "submit_rate_limited_429"), Err(ProviderError::RateLimited { .. })));
}

#[test]
fn a_delete_says_whether_it_is_gone() {
    assert!(answers::deletion(&Answer::new(200, fixture("delete_done"))).is_ok());
    let conflict = answers::deletion(&Answer::new(409, fixture("delete_conflict_409_vllm_omni")));
    assert!(matches!(conflict, Err(ProviderError::Unknown { .. })));
    assert!(matches!(answers::deletion(&Answer::new(404, fixture("poll_not_found_404"))), Err(ProviderError::Gone)));
    assert!(answers::deletion(&Answer::new(200, "{\"deleted\":false}")).is_err());
}

#[test]
fn the_address_in_a_refusal_is_found() {
    let answer = Answer::new(400, fixture("content_cloud_400_sglang"));
    let url = "https://bucket.example.test/7d1f.mp4?X-Amz-Signature=abc";
    assert_eq!(answers::url_in_refusal(&answer).as_deref(), Some(url));
    for none in ["content_not_ready_404_sglang", "content_failed_422_vllm_omni"] {
        assert_eq!(answers::url_in_refusal(&Answer::new(404, fixture(none))), None);
    }
}

fn lost(prompt: &str, since: i64) -> FindRequest {
    find_request(&submission("sora-2", request(prompt, 8)), Timestamp::from_micros(since * 1_000_000))
}

fn page(value: serde_json::Value) -> Page {
    serde_json::from_value(value).unwrap()
}

/// Candidates and completeness after some pages.
fn search(request: &FindRequest, pages: &[Page]) -> (Vec<String>, bool) {
    let mut search = Search::new(request);
    let mut covered = false;
    for page in pages {
        covered = search.read(page) == Next::Covered;
    }
    let found = search.finish(covered);
    (found.candidates.iter().map(ToString::to_string).collect(), found.complete)
}

/// A remix of another video, or of none, has the same words and shape and is not the one that was lost.
#[test]
fn only_a_remix_of_the_same_video_is_taken_for_a_lost_remix() {
    let from = |source: Option<&str>, id: &str| {
        let mut video = listed(id, Some("a boat"), 1_000);
        video["remixed_from_video_id"] = json!(source);
        video
    };
    let page = page(json!({"object": "list", "has_more": false, "data": [
        from(Some("theirs"), "video_4"), from(Some("another"), "video_3"), from(None, "video_2"),
        listed("video_1", Some("a boat"), 1_000),
    ]}));
    let ids = |ids: [&str; 2]| ids.map(str::to_owned).to_vec();
    let plain = lost("a boat", 900);
    assert_eq!(search(&plain, std::slice::from_ref(&page)), (ids(["video_2", "video_1"]), true));
    let source = Source {
        video: JobId::from_bytes([1; 16]),
        kind: SourceKind::Remix,
        account: AccountId(1),
        provider_job: ProviderJobId::new("theirs"),
    };
    let request = VideoRequest { source: Some(source), ..request("a boat", 8) };
    let remix = find_request(&submission("sora-2", request), Timestamp::from_micros(900 * 1_000_000));
    // One that says nothing of what it was made of may be ours; one that says "of none" is not.
    assert_eq!(search(&remix, std::slice::from_ref(&page)), (ids(["video_4", "video_1"]), true));
}

fn listed(id: &str, prompt: Option<&str>, created_at: i64) -> serde_json::Value {
    json!({"id": id, "object": "video", "model": "sora-2", "prompt": prompt, "seconds": "8", "size": "1280x720", "created_at": created_at})
}

#[test]
fn a_look_up_adopts_only_what_is_equal_and_young_enough() {
    let list: Page = serde_json::from_slice(&fixture("list_page")).unwrap();
    let lost_at = |since| lost("a paper boat in the rain", since);
    assert_eq!(search(&lost_at(1_769_990_000), std::slice::from_ref(&list)), (vec!["video_3".to_owned()], true));
    // video_1 has the same prompt, but is older.
    let both = vec!["video_3".to_owned(), "video_1".to_owned()];
    assert_eq!(search(&lost_at(1_769_970_000), std::slice::from_ref(&list)), (both, true));
    assert_eq!(search(&lost("unseen", 1_769_990_000), &[list]), (vec![], true));
    // A dated name is the same model, another length is not.
    let mut dated = listed("d", Some("p"), 100);
    dated["model"] = json!("sora-2-2025-12-08");
    assert_eq!(
        search(&lost("p", 50), &[page(json!({"data": [dated], "has_more": false}))]),
        (vec!["d".to_owned()], true)
    );
}

#[test]
fn a_look_up_proves_no_absence_where_there_is_doubt() {
    let request = lost("p", 50);
    let cases = [
        // A list that hides prompts proves nothing and offers nobody.
        ("hidden", json!({"data": [listed("a", Some("p"), 100), listed("b", None, 100)], "has_more": false}), vec![]),
        // The same prompt with other parameters: perhaps the server changed them.
        (
            "changed",
            json!({"data": [{"id": "a", "prompt": "p", "size": "1280x704", "created_at": 100}], "has_more": false}),
            vec![],
        ),
        // A list that ends without saying so.
        ("open", json!({"data": [listed("a", Some("p"), 100)]}), vec!["a"]),
        // Oldest first: the older one says nothing about the rest.
        (
            "unordered",
            json!({"data": [listed("o", Some("x"), 10), listed("a", Some("p"), 100)], "has_more": true}),
            vec!["a"],
        ),
        // More is announced, and there is no way to ask for it.
        ("stuck", json!({"data": [], "has_more": true}), vec![]),
    ];
    for (name, list, candidates) in cases {
        let candidates: Vec<String> = candidates.into_iter().map(str::to_owned).collect();
        assert_eq!(search(&request, &[page(list)]), (candidates, false), "{name}");
    }
    let sglang: Page = serde_json::from_slice(&fixture("list_page_sglang")).unwrap();
    assert_eq!(search(&lost("p", 1_769_990_000), &[sglang]), (vec![], false));
}

#[tokio::test]
async fn the_create_is_the_sdks_form_with_our_key_and_extra_fields() {
    let server = Canned::start(|_| canned::answer(200, &[], fixture("submit_accepted_openai"))).await;
    let provider = remote(account("openai_compatible", Some(&format!("{}/v1/", server.url()))));
    let mut wanted = request("a paper boat", 8);
    wanted.provider_options = Some(r#"{"seed":7,"negative_prompt":"blur","extra_params":{"a":1}}"#.into());
    let submission = submission("sora-2", wanted);
    provider.submit(&call(), &submission).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line(), "POST /v1/videos");
    assert_eq!(asked[0].header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(asked[0].header("idempotency-key"), Some(submission.client_ref.as_str()));
    assert!(asked[0].header("content-type").unwrap().starts_with("multipart/form-data"));
    let fields = [
        ("prompt", "a paper boat"),
        ("model", "sora-2"),
        ("seconds", "8"),
        ("size", "1280x720"),
        ("seed", "7"),
        ("negative_prompt", "blur"),
        ("extra_params", "{\"a\":1}"),
    ];
    for (name, value) in fields {
        let part = format!("name=\"{name}\"\r\n\r\n{value}\r\n");
        assert!(asked[0].body.contains(&part), "{name} in {}", asked[0].body);
    }
}

#[tokio::test]
async fn seconds_can_be_a_number() {
    let server = Canned::start(|_| canned::answer(200, &[], fixture("submit_accepted_sglang"))).await;
    let mut account = account("openai_compatible", Some(&format!("{}/v1", server.url())));
    account.options = json!({"seconds_type": "integer"}).as_object().unwrap().clone();
    account.api_key = None;
    remote(account).submit(&call(), &submission("wan-2.2", request("a paper boat", 4))).await.unwrap();
    let asked = &server.asked()[0];
    let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body, json!({"prompt": "a paper boat", "model": "wan-2.2", "seconds": 4, "size": "1280x720"}));
    assert_eq!(asked.header("authorization"), None);
}

#[tokio::test]
async fn an_id_stays_in_its_place() {
    let server = Canned::start(|_| canned::answer(404, &[], "{}")).await;
    let provider = remote(account("openai_compatible", Some(&format!("{}/v1", server.url()))));
    for id in ["a/../../admin", "a?b=c", "a#b", "ä b"] {
        let status = provider.poll(&call(), &ProviderJobId::new(id).unwrap()).await.unwrap();
        assert_eq!(status.state, ProviderState::NotFound);
    }
    let lines: BTreeSet<String> = server.asked().iter().map(|asked| asked.line().to_owned()).collect();
    let expected = [
        "GET /v1/videos/a%2F..%2F..%2Fadmin",
        "GET /v1/videos/a%3Fb=c",
        "GET /v1/videos/a%23b",
        "GET /v1/videos/%C3%A4%20b",
    ];
    assert_eq!(lines, expected.map(str::to_owned).into());
}

#[tokio::test]
async fn a_servers_pace_is_heard_and_bounded() {
    let body = fixture("poll_in_progress");
    let server = Canned::start(move |asked| match asked.line().rsplit('/').next() {
        Some("pace") => canned::answer(200, &["openai-poll-after-ms: 4000"], &body),
        Some("long") => canned::answer(200, &["openai-poll-after-ms: 99999999"], &body),
        _ => canned::answer(200, &["retry-after: 99999999"], &body),
    })
    .await;
    let provider = remote(account("openai_compatible", Some(&server.url())));
    for (id, wait) in [("pace", 4), ("long", 60), ("retry", 3_600)] {
        let status = provider.poll(&call(), &ProviderJobId::new(id).unwrap()).await.unwrap();
        assert_eq!(status.retry_after, Some(Duration::from_secs(wait)), "{id}");
    }
}
