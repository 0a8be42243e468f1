//! Remixes: by the provider's own name for a video, or from a picture of it; and an honest no elsewhere.

use longtake_testing::sim::{Faults, Options, Simulator};
use longtake_testing::wait_until;
use reqwest::multipart::Form;
use serde_json::{Value, json};
use std::time::Duration;

use crate::app::{Server, code, tiny};

fn remix_of(video: &Value) -> String {
    format!("/v1/videos/{}/remix", video["id"].as_str().unwrap())
}

async fn completed(server: &Server, body: &Value) -> Value {
    let video = server.finished(&server.create(body).await).await;
    assert_eq!(video["status"], "completed", "{video}");
    video
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_remixes_from_a_picture_with_the_settings_of_the_source() {
    let server = Server::start().await;
    let mut body = tiny("a red boat [sandbox duration=1ms]");
    body["metadata"] = json!({"take": "1"});
    let source = completed(&server, &body).await;
    assert_eq!(source["remixed_from_video_id"], Value::Null);

    let prompt = "the same at night [sandbox duration=1ms]";
    let response = server.post(&remix_of(&source)).json(&json!({"prompt": prompt})).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let remix: Value = response.json().await.unwrap();
    assert_ne!(remix["id"], source["id"]);
    assert_eq!(remix["remixed_from_video_id"], source["id"]);
    for member in ["model", "seconds", "size"] {
        assert_eq!(remix[member], source[member], "{member}");
    }
    assert_eq!((&remix["prompt"], &remix["metadata"]), (&json!(prompt), &json!({})));
    let remix = server.finished(&remix).await;
    assert_eq!(remix["status"], "completed", "{remix}");
    assert_ne!(remix["sha256"], source["sha256"]);

    let inputs = std::fs::read_dir(server.artifacts().join("1/inputs")).unwrap().count();
    assert_eq!(inputs, 1, "one picture of the source");

    // Of a remix another can be made, and all of it still stands after a restart.
    let server = server.restarted().await;
    let form = Form::new().text("prompt", "and again [sandbox duration=1ms]").text("metadata[take]", "3");
    let again: Value = server.post(&remix_of(&remix)).multipart(form).send().await.unwrap().json().await.unwrap();
    assert_eq!((&again["remixed_from_video_id"], &again["metadata"]), (&remix["id"], &json!({"take": "3"})));
    assert_eq!(server.finished(&again).await["status"], "completed");
    let listed = server.json("/v1/videos").await;
    let from: Vec<&Value> =
        listed["data"].as_array().unwrap().iter().map(|video| &video["remixed_from_video_id"]).collect();
    assert_eq!(from, [&remix["id"], &source["id"], &Value::Null]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_remixed_says_so() {
    let server = Server::start().await;
    let hanging = server.create(&tiny("[sandbox hang] x")).await;
    let prompt = json!({"prompt": "y"});
    let remix = |path: &str, body: &Value| server.post(path).json(body);
    assert_eq!(code(remix(&remix_of(&hanging), &prompt)).await, (409, "video_not_ready".to_owned()));
    assert_eq!(code(remix("/v1/videos/video_0/remix", &prompt)).await, (404, "video_not_found".to_owned()));
    let source = completed(&server, &tiny("x [sandbox duration=1ms]")).await;
    let path = remix_of(&source);
    for (body, expected) in [
        (json!({}), "missing_parameter"),
        (json!({"prompt": " "}), "prompt_blank"),
        (json!({"prompt": "y", "model": "sandbox"}), "unsupported_parameter"),
        (json!({"prompt": "y", "seconds": "2"}), "unsupported_parameter"),
        (json!({"prompt": "y", "size": "64x64"}), "unsupported_parameter"),
        (json!({"prompt": "y", "provider_options": {"fps": 2}}), "unsupported_parameter"),
        (json!({"prompt": "y", "source": "z"}), "unknown_parameter"),
        (json!({"prompt": "[sandbox what=now] y"}), "unsupported_by_model"),
    ] {
        assert_eq!(code(remix(&path, &body)).await, (400, expected.to_owned()), "{body}");
    }
    for path in ["/v1/videos/edits", "/v1/videos/extensions"] {
        assert_eq!(code(remix(path, &prompt)).await, (400, "unsupported_by_model".to_owned()));
    }
    assert_eq!(server.json("/v1/models/sandbox").await["remix"], true);
    assert_eq!(server.json("/v1/videos").await["data"].as_array().unwrap().len(), 2, "nothing was made");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_remix_of_one_video() {
    let server = Server::start().await;
    let one = completed(&server, &tiny("one [sandbox duration=1ms]")).await;
    let two = completed(&server, &tiny("two [sandbox duration=1ms]")).await;
    let body = json!({"prompt": "z [sandbox hang]"});
    let keyed = |video: &Value| server.post(&remix_of(video)).header("idempotency-key", "k").json(&body);
    let first: Value = keyed(&one).send().await.unwrap().json().await.unwrap();
    let again = keyed(&one).send().await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap()["id"], first["id"]);
    assert_eq!(code(keyed(&two)).await, (409, "idempotency_key_reused".to_owned()));
    // The SDKs repeat a POST by themselves; they send no key.
    let repeated = async |count: &str| -> Value {
        let request = server.post(&remix_of(&two)).header("x-stainless-retry-count", count).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(repeated("0").await["id"], repeated("1").await["id"]);
    server.stop().await;
}

/// A gateway in front of a server of the same shape; `remix` is what its operator says of that server.
async fn over(simulator: &Simulator, remix: bool) -> Server {
    let url = simulator.url();
    Server::start_called_back(|_| {
        format!(
            r#"
[accounts.sim]
provider = "openai_compatible"
api_key = "test"
base_url = "{url}/v1"
poll_first_ms = 50
poll_ceiling_ms = 100
absence_settle_ms = 300
[accounts.sim.options]
remix = {remix}
[models.sim]
routes = [{{ account = "sim", model = "wan" }}]
"#
        )
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_remixes_is_asked_by_its_own_name_for_the_video() {
    let simulator = Simulator::start(Options { duration_ms: 50, ..Options::default() });
    let server = over(&simulator, true).await;
    let source =
        completed(&server, &json!({"prompt": "a boat", "model": "sim", "provider_options": {"seed": 7}})).await;
    let body = json!({"prompt": "the same at night"});
    let remix: Value = server.post(&remix_of(&source)).json(&body).send().await.unwrap().json().await.unwrap();
    let remix = server.finished(&remix).await;
    assert_eq!(remix["status"], "completed", "{remix}");
    let jobs = simulator.ledger().jobs();
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[1].remix_of.as_ref(), Some(&jobs[0].provider_job));
    assert_eq!(jobs[1].prompt, "the same at night");
    let timeline = server.json(&format!("/v1/videos/{}/timeline", remix["id"].as_str().unwrap())).await;
    let first = &timeline["exchanges"][0];
    let expected = format!("POST {}/v1/videos/{}/remix", simulator.url(), jobs[0].provider_job);
    assert_eq!((&first["call"], &first["request"]), (&json!("submit"), &json!(expected)), "{timeline}");
    server.stop().await;
    simulator.shutdown();
}

/// The answer to the remix is lost: it is found in the list by its prompt, and not taken for a create of the same words.
#[tokio::test(flavor = "multi_thread")]
async fn a_remix_whose_answer_was_lost_is_bought_once() {
    let simulator = Simulator::start(Options { duration_ms: 50, ..Options::default() });
    let server = over(&simulator, true).await;
    let source = completed(&server, &json!({"prompt": "a boat", "model": "sim"})).await;
    // Somebody else's, which nobody here claims, of the same words and shape.
    let stranger = json!({"prompt": "at night", "model": "wan", "seconds": "4", "size": "1280x720"});
    let bought = reqwest::Client::new().post(format!("{}/v1/videos", simulator.url())).json(&stranger).send().await;
    assert_eq!(bought.unwrap().status().as_u16(), 200);
    simulator.set_faults(Faults { drop_after_accept: 1.0, ..Faults::default() });
    let body = json!({"prompt": "at night"});
    let remix: Value = server.post(&remix_of(&source)).json(&body).send().await.unwrap().json().await.unwrap();
    wait_until("the remix is bought", Duration::from_secs(30), async || simulator.ledger().accepted() == 3).await;
    simulator.set_faults(Faults::default());
    let remix = server.finished(&remix).await;
    assert_eq!(remix["status"], "completed", "{remix}");
    assert_eq!(simulator.ledger().accepted(), 3);
    let timeline = server.json(&format!("/v1/videos/{}/timeline", remix["id"].as_str().unwrap())).await;
    assert_eq!(timeline["attempts"].as_array().unwrap().len(), 1, "{timeline}");
    let adopted = &timeline["attempts"][0]["provider_job_id"];
    assert_eq!(adopted, simulator.ledger().jobs()[2].provider_job.as_str());
    server.stop().await;
    simulator.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_operators_word_a_server_is_not_asked() {
    let simulator = Simulator::start(Options { duration_ms: 50, ..Options::default() });
    let server = over(&simulator, false).await;
    let source = completed(&server, &json!({"prompt": "a boat", "model": "sim"})).await;
    let remix = server.post(&remix_of(&source)).json(&json!({"prompt": "at night"}));
    assert_eq!(code(remix).await, (400, "unsupported_by_model".to_owned()));
    assert_eq!(server.json("/v1/models/sim").await["remix"], false);
    assert_eq!(simulator.ledger().accepted(), 1);
    server.stop().await;
    simulator.shutdown();
}
