//! The OpenAI shape and the traps of its flavours.

use longtake_testing::sim::{CreateFault, Faults, Flavour, Options, ProgressReport, Simulator};
use serde_json::{Value, json};

use crate::{client, create, create_one, get, wait_for};

fn flavour(flavour: Flavour) -> Options {
    Options { flavour, duration_ms: 30, ..Options::default() }
}

async fn create_form(sim: &Simulator, fields: &[(&'static str, &'static str)]) -> (u16, Value) {
    let form = fields.iter().fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(*name, *value));
    let answer = client().post(format!("{}/v1/videos", sim.url())).multipart(form).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn forms_and_json_are_the_same_create() {
    let sim = Simulator::start(Options { poll_after_ms: Some(250), ..flavour(Flavour::Openai) });
    let image = reqwest::multipart::Part::bytes(vec![1, 2, 3]).file_name("first.png");
    let form =
        reqwest::multipart::Form::new().text("prompt", "a boat").text("seconds", "8").part("input_reference", image);
    let answer = client().post(format!("{}/v1/videos", sim.url())).multipart(form).send().await.unwrap();
    let by_form: Value = answer.json().await.unwrap();
    let body = json!({"prompt": "a boat", "seconds": 8, "user": "attempt-1", "extra": true});
    let by_json: Value = create(&sim, &body).await.unwrap().json().await.unwrap();
    for video in [&by_form, &by_json] {
        assert_eq!(video["status"], "queued");
        assert_eq!(video["seconds"], "8");
        assert_eq!(video["prompt"], "a boat");
        assert_eq!(video["size"], "720x1280");
    }
    assert_eq!(sim.ledger().jobs()[1].client_ref.as_deref(), Some("attempt-1"));
    let url = format!("{}/v1/videos/{}", sim.url(), by_form["id"].as_str().unwrap());
    let answer = client().get(url).send().await.unwrap();
    assert_eq!(answer.headers()["openai-poll-after-ms"], "250");
    assert!(answer.headers().contains_key("x-request-id"));
}

#[tokio::test]
async fn wrong_creates_are_refused_and_not_billed() {
    let sim = Simulator::start(Options { strict_seconds: true, ..flavour(Flavour::Openai) });
    let wrong = [
        (json!({"model": "sora-2"}), "prompt"),
        (json!({"prompt": ""}), "prompt"),
        (json!({"prompt": "p", "seconds": 8}), "seconds"),
        (json!({"prompt": "p", "seconds": "7"}), "seconds"),
        (json!({"prompt": "p", "size": "big"}), "size"),
        (json!({"prompt": "p", "input_reference": {"file_id": "f", "image_url": "u"}}), "input_reference"),
    ];
    for (body, field) in wrong {
        let answer = create(&sim, &body).await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
        let error = &answer.json::<Value>().await.unwrap()["error"];
        assert_eq!(error["param"], field, "{body}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    let ordered = create(&sim, &json!({"prompt": "[sim error=402]"})).await.unwrap();
    assert_eq!(ordered.status(), 402);
    assert_eq!(sim.ledger().accepted(), 0);
    assert_eq!(create(&sim, &json!({"prompt": "p", "seconds": "8"})).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_wrong_key_is_let_into_nothing() {
    let sim = Simulator::start(Options { api_key: Some("right".to_owned()), ..Options::default() });
    assert_eq!(create(&sim, &json!({"prompt": "p"})).await.unwrap().status(), 401);
    let post = client().post(format!("{}/v1/videos", sim.url())).bearer_auth("right");
    assert_eq!(post.json(&json!({"prompt": "p"})).send().await.unwrap().status(), 200);
    let (status, body) = get(format!("{}/v2/query/video_generation/1", sim.url())).await;
    assert_eq!((status, body["error"]["type"].as_str()), (401, Some("authorized_error")));
    let (status, body) = get(format!("{}/v1/query/video_generation?task_id=1", sim.url())).await;
    assert_eq!((status, body["base_resp"]["status_code"].as_i64()), (200, Some(1004)));
}

#[tokio::test]
async fn status_follows_the_clock_and_failures_have_their_code() {
    let sim = Simulator::start(Options { queue_ms: 600_000, ..Options::default() });
    let queued = create_one(&sim, "p").await;
    let running = create_one(&sim, "[sim queue_ms=0 duration_ms=600000]").await;
    let failed = create_one(&sim, "[sim queue_ms=0 duration_ms=0 fail=moderation_blocked]").await;
    let show = async |id: &str| get(format!("{}/v1/videos/{id}", sim.url())).await.1;
    assert_eq!(show(&queued).await["status"], "queued");
    assert_eq!(show(&running).await["status"], "in_progress");
    let failed = show(&failed).await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["error"]["code"], "moderation_blocked");
    let refused = client().delete(format!("{}/v1/videos/{running}", sim.url())).send().await.unwrap();
    assert_eq!(refused.status(), 400, "a delete is not a cancel");
}

#[tokio::test]
async fn polls_misbehave_as_ordered() {
    let sim = Simulator::start(Options { duration_ms: 0, ..Options::default() });
    let id = create_one(&sim, "p").await;
    let running = create_one(&sim, "[sim duration_ms=600000]").await;
    let url = format!("{}/v1/videos/{id}", sim.url());
    let with = async |faults: Faults, url: &str| {
        sim.set_faults(faults);
        get(url.to_owned()).await
    };
    assert_eq!(with(Faults { poll_error: 1.0, ..Faults::default() }, &url).await.0, 500);
    assert_eq!(with(Faults { poll_rate_limited: 1.0, ..Faults::default() }, &url).await.0, 429);
    assert_eq!(with(Faults { get_lag_ms: 600_000, ..Faults::default() }, &url).await.0, 404);
    let unknown = with(Faults { unknown_status: 1.0, ..Faults::default() }, &url).await;
    assert_eq!(unknown.1["status"], "defragmenting");
    let backwards = with(Faults { status_backwards: 1.0, ..Faults::default() }, &url).await;
    assert_eq!(backwards.1["status"], "in_progress");
    let over = Faults { progress: ProgressReport::OverHundred, ..Faults::default() };
    assert_eq!(with(over, &format!("{}/v1/videos/{running}", sim.url())).await.1["progress"], 250);
    sim.set_faults(Faults { poll_drop: 1.0, ..Faults::default() });
    client().get(&url).send().await.unwrap_err();
    sim.set_faults(Faults { poll_retry_after_secs: Some(3), ..Faults::default() });
    assert_eq!(client().get(&url).send().await.unwrap().headers()["retry-after"], "3");
}

#[tokio::test]
async fn sglang_hides_the_prompt_only_forgets_and_indexes_variants() {
    let sim = Simulator::start(Options { strict_seconds: true, ..flavour(Flavour::Sglang) });
    let (status, refused) = (create(&sim, &json!({"prompt": "p", "seconds": "4"})).await.unwrap()).pair().await;
    assert_eq!((status, refused["detail"].is_string()), (400, true));
    let (status, video) = (create(&sim, &json!({"prompt": "p", "seconds": 4})).await.unwrap()).pair().await;
    assert_eq!((status, video["seconds"].as_str()), (200, Some("4")));
    assert_eq!(create_form(&sim, &[("prompt", "p"), ("seconds", "4")]).await.0, 200);
    let (_, page) = get(format!("{}/v1/videos", sim.url())).await;
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    assert!(page["data"].as_array().unwrap().iter().all(|video| video["prompt"].is_null()));
    let id = video["id"].as_str().unwrap();
    wait_for(&sim, id, "completed").await;
    let content = format!("{}/v1/videos/{id}/content", sim.url());
    assert_eq!(client().get(format!("{content}?variant=video")).send().await.unwrap().status(), 404);
    assert_eq!(client().get(format!("{content}?variant=0")).send().await.unwrap().status(), 200);

    let running = create_one(&sim, "[sim duration_ms=600000]").await;
    let url = format!("{}/v1/videos/{running}", sim.url());
    let (_, deleted) = client().delete(&url).send().await.unwrap().pair().await;
    assert_eq!(deleted["status"], "deleted");
    assert_eq!(get(url).await.0, 404);
    assert_eq!(sim.ledger().billed(), 3, "the work goes on and is charged");
}

#[tokio::test]
async fn sglang_with_cloud_storage_refuses_content() {
    let sim = Simulator::start(Options { cloud_storage: true, ..flavour(Flavour::Sglang) });
    let id = create_one(&sim, "p").await;
    wait_for(&sim, &id, "completed").await;
    let url = format!("{}/v1/videos/{id}", sim.url());
    let (status, refused) = get(format!("{url}/content")).await;
    assert_eq!(status, 400);
    let link = get(url).await.1["url"].as_str().unwrap().to_owned();
    assert!(refused["detail"].as_str().unwrap().contains("/results/"));
    assert_eq!(client().get(link).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn vllm_omni_answers_a_failed_job_with_its_error_status() {
    let options = Options { models: vec!["wan".to_owned()], ..flavour(Flavour::VllmOmni) };
    let sim = Simulator::start(options);
    assert_eq!(create(&sim, &json!({"prompt": "p"})).await.unwrap().status(), 400, "multipart only");
    assert_eq!(create_form(&sim, &[("prompt", "p"), ("model", "other")]).await.0, 400);
    let (_, video) = create_form(&sim, &[("prompt", "[sim fail=503 duration_ms=0]"), ("model", "wan")]).await;
    let url = format!("{}/v1/videos/{}", sim.url(), video["id"].as_str().unwrap());
    let (status, failed) = get(url.clone()).await;
    assert_eq!(status, 503);
    assert_eq!((&failed["object"], &failed["status"]), (&json!("video"), &json!("failed")));
    assert_eq!(failed["error"]["code"], 503);
    assert_eq!(get(format!("{url}/content")).await.0, 422);
    let (_, page) = get(format!("{}/v1/videos", sim.url())).await;
    assert_eq!(page["data"][0]["prompt"], "[sim fail=503 duration_ms=0]");
}

#[tokio::test]
async fn vllm_omni_cancels_on_delete_after_conflicts() {
    let sim = Simulator::start(flavour(Flavour::VllmOmni));
    let (_, video) = create_form(&sim, &[("prompt", "[sim queue_ms=600000]")]).await;
    let url = format!("{}/v1/videos/{}", sim.url(), video["id"].as_str().unwrap());
    sim.set_faults(Faults { delete_conflicts: 1, ..Faults::default() });
    assert_eq!(client().delete(&url).send().await.unwrap().status(), 409);
    let (status, receipt) = client().delete(&url).send().await.unwrap().pair().await;
    assert_eq!((status, &receipt["deleted"]), (200, &json!(true)));
    let (status, gone) = get(url).await;
    assert_eq!((status, gone["detail"].as_str()), (404, Some("Video not found")));
    assert_eq!((sim.ledger().accepted(), sim.ledger().billed()), (1, 0));
    let (_, video) = create_form(&sim, &[("prompt", "[sim duration_ms=600000]")]).await;
    let url = format!("{}/v1/videos/{}", sim.url(), video["id"].as_str().unwrap());
    client().delete(&url).send().await.unwrap();
    assert_eq!(client().delete(&url).send().await.unwrap().status(), 200);
    assert_eq!(sim.ledger().billed(), 1, "stopped at work: charged");
}

#[tokio::test]
async fn a_remix_is_a_purchase_of_its_own() {
    let sim = Simulator::start(Options { faults: Faults::script([CreateFault::Pass]), ..flavour(Flavour::Openai) });
    let id = create_one(&sim, "p").await;
    let url = format!("{}/v1/videos/{id}/remix", sim.url());
    let (_, remix) = client().post(url).json(&json!({"prompt": "q"})).send().await.unwrap().pair().await;
    assert_eq!(remix["remixed_from_video_id"], id.as_str());
    assert_eq!(sim.ledger().billed(), 2);
    assert_eq!(get(format!("{}/v1/videos/edits", sim.url())).await.0, 404);
}

#[tokio::test]
async fn more_than_the_limit_in_flight_is_refused() {
    let sim = Simulator::start(Options { max_in_flight: Some(2), duration_ms: 600_000, ..Options::default() });
    create_one(&sim, "[sim duration_ms=0]").await;
    create_one(&sim, "p").await;
    create_one(&sim, "q").await;
    assert_eq!(create(&sim, &json!({"prompt": "r"})).await.unwrap().status(), 429);
    assert_eq!(sim.ledger().accepted(), 3);
}

/// Status and JSON body of an answer.
trait Pair {
    async fn pair(self) -> (u16, Value);
}

impl Pair for reqwest::Response {
    async fn pair(self) -> (u16, Value) {
        (self.status().as_u16(), self.json().await.unwrap())
    }
}
