//! 1, 3, 5: both prefixes, the 202 and its link, fields known and unknown.

use longtake_testing::sim::{Options, Simulator};
use serde_json::{Value, json};

use super::{Client, answer, both, small, video_of};
use crate::app::{Server, base64, png};

/// ISO 8601 to the second, as each dialect ends it.
fn is_time(client: Client<'_>, value: &Value) -> bool {
    let text = value.as_str().unwrap();
    let end = if client.is_a() { "+00:00" } else { "Z" };
    text.len() == 19 + end.len() && text.ends_with(end) && &text[10..11] == "T"
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_task_says_where_to_look() {
    let server = Server::start().await;
    for client in both(&server) {
        let body = small("a lake at dawn [sandbox hang]");
        let response = client.post("/videos/generations/async").json(&body).send().await.unwrap();
        assert_eq!(response.status(), 202);
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let made: Value = response.json().await.unwrap();
        let task = made[client.name("task_id")].as_str().unwrap();
        let hex = task.strip_prefix("task_").unwrap();
        assert!(hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{task}");
        assert_eq!(made["status"], "pending");
        let link = format!("{}/videos/generations/tasks/{task}", client.prefix);
        assert_eq!((&made[client.name("check_status_url")], location.as_str()), (&json!(link), link.as_str()));
        for time in ["created_at", "estimated_completion_time"] {
            assert!(is_time(client, &made[client.name(time)]), "{made}");
        }
        let mut names = ["task_id", "status", "created_at", "estimated_completion_time", "check_status_url"]
            .map(|name| client.name(name));
        names.sort();
        let found: Vec<&String> = made.as_object().unwrap().keys().collect();
        assert_eq!(found, names.iter().collect::<Vec<_>>());
        // The link works as it is, and the task is an ordinary video.
        assert_eq!(server.json(&link).await[client.name("task_id")], task);
        let video = server.in_state(&video_of(task), "running").await;
        assert_eq!((&video["prompt"], &video["seconds"]), (&body["prompt"], &json!("1")));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_is_read_and_numbers_may_be_text() {
    let server = Server::start().await;
    for client in both(&server) {
        let body = json!({
            "prompt": "fields [sandbox duration=1ms]", "model": "sandbox", "duration": "2", "size": "64x64", "fps": "6",
            "style": "noir", "response_format": "b64_json", "user": "u-7", "seed": "42", "n": "2",
            "webhook_metadata": {"order": 7}, "timeout_seconds": 3600, "negative_prompt": "blur", "guidance_scale": 7.5,
            "audio": true, "nothing": null,
        });
        let made = client.accepted(&body).await;
        // What nobody who could make this video knows is left out, and said so: nothing of it fails.
        let ignored = json!(["audio", "guidance_scale", "n", "negative_prompt", "seed", "style"]);
        assert_eq!(made[client.name("ignored_parameters")], ignored);
        let task = made[client.name("task_id")].as_str().unwrap();
        let done = client.once(task, "completed").await;
        let made = if client.is_a() { &done["videoResponse"] } else { &done["result"] };
        let metadata = &made["data"][0]["metadata"];
        assert_eq!((&metadata["duration"], &metadata["fps"]), (&json!(2.0), &json!(6.0)), "{done}");
        let video = server.json(&format!("/v1/videos/{}", video_of(task)["id"].as_str().unwrap())).await;
        assert_eq!(video["metadata"], json!({"user": "u-7", "order": "7"}));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_reach_a_provider_that_takes_them() {
    let vendor = Simulator::start(Options { duration_ms: 50, ..Options::default() });
    let url = vendor.url();
    let server = Server::start_called_back(|_| {
        format!(
            "[accounts.sim]\nprovider = \"openai_compatible\"\napi_key = \"k\"\nbase_url = \"{url}/v1\"\npoll_first_ms = 50\n\
             poll_ceiling_ms = 50\n[models.wan]\nroutes = [{{ account = \"sim\", model = \"wan-2.2\" }}]\n"
        )
    })
    .await;
    let [_, client] = both(&server);
    let wish = json!({"prompt": "p", "model": "wan", "duration": 4, "size": "1280x720"});
    let mut extras = wish.clone();
    let fields =
        json!({"negative_prompt": "blur", "guidance_scale": 7.5, "seed": 42, "fps": 12, "motion_bucket_id": 127});
    extras.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    // A place in the server's own house is no field for a provider.
    extras["output_path"] = json!("/etc/passwd");
    let ours = json!({"prompt": "p", "model": "wan", "seconds": "4", "size": "1280x720", "provider_options": fields});
    let made = client.accepted(&extras).await;
    assert_eq!(made["ignored_parameters"], json!(["output_path"]));
    client.once(made["task_id"].as_str().unwrap(), "completed").await;
    server.finished(&server.create(&ours).await).await;
    client.once(&client.task(&wish).await, "completed").await;
    let jobs = vendor.ledger().jobs();
    assert_eq!(
        jobs[0].request_hash, jobs[1].request_hash,
        "the vendor saw what our own door sends as provider_options"
    );
    assert_ne!(jobs[0].request_hash, jobs[2].request_hash, "and it saw the difference they make");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_is_a_size_and_a_picture_a_start() {
    let server = Server::start().await;
    let picture = format!("data:image/png;base64,{}", base64(&png()));
    for client in both(&server) {
        for name in ["first_frame_image", "start_image"] {
            let mut body = small("from a picture [sandbox hang]");
            (body["size"], body[name]) = (json!("480p"), json!(picture));
            let task = client.task(&body).await;
            let video = server.json(&format!("/v1/videos/{}", video_of(&task)["id"].as_str().unwrap())).await;
            assert_eq!(video["size"], "854x480");
            let path = format!("/v1/videos/{}/timeline", video["id"].as_str().unwrap());
            server.in_state(&video, "running").await;
            assert!(!server.json(&path).await.to_string().contains("base64"), "the picture is kept, not repeated");
        }
        let mut broken = small("x");
        broken["start_image"] = json!("data:image/png;base64,AAAA");
        let (status, told) = answer(client.post("/videos/generations/async").json(&broken)).await;
        assert_eq!(status, 400, "{told}");
        if !client.is_a() {
            assert_eq!(told["error"]["param"], "start_image", "{told}");
        }
        broken["first_frame_image"] = json!(picture);
        assert_eq!(answer(client.post("/videos/generations/async").json(&broken)).await.0, 400, "one start only");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_task_d() {
    let server = Server::start().await;
    for client in both(&server) {
        let keyed = |body: &Value| {
            let request = client.post("/videos/generations/async").json(body);
            request.header("idempotency-key", format!("order-{}", client.prefix.len()))
        };
        let body = small("once [sandbox hang]");
        let (first, again) = (keyed(&body).send().await.unwrap(), keyed(&body).send().await.unwrap());
        assert_eq!((first.status(), again.status()), (first.status(), first.status()));
        assert_eq!(again.headers()["idempotent-replayed"], "true");
        let (first, again): (Value, Value) = (first.json().await.unwrap(), again.json().await.unwrap());
        let id = client.name("task_id");
        assert!(first[&id].is_string() && first[&id] == again[&id], "{first} {again}");
        let (status, told) = answer(keyed(&small("other [sandbox hang]"))).await;
        assert_eq!(status, 409, "{told}");
        assert!(told.to_string().contains("idempotency_key_reused"), "{told}");
    }
    let videos = server.json("/v1/videos").await;
    assert_eq!(videos["data"].as_array().unwrap().len(), 2, "one for each dialect");
    server.stop().await;
}
