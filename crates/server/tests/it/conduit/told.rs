//! 8: callbacks as Conduit made them, signed as ours are.

use serde_json::{Value, json};

use super::{both, small};
use crate::app::Server;
use crate::webhook_endpoints::receiver::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_has_conduits_body_and_headers() {
    let receiver = Receiver::start().await;
    let server = Server::start_with(|config| {
        config.webhooks.allow_http = true;
        config.webhooks.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    for client in both(&server) {
        for (n, (prompt, status)) in [
            ("a lake at dawn [sandbox duration=1ms]", "completed"),
            ("no [sandbox fail=content_policy duration=1ms]", "failed"),
            ("stop [sandbox hang]", "cancelled"),
        ]
        .into_iter()
        .enumerate()
        {
            let path = format!("{}/{n}", client.prefix);
            let mut body = small(prompt);
            body["webhook_url"] = json!(receiver.url(&path));
            body["webhook_headers"] = json!({"X-Tenant": "7", "Authorization": "Bearer of-the-receiver"});
            body["webhook_metadata"] = json!({"order": 4711});
            let task = client.task(&body).await;
            if status == "cancelled" {
                client.once(&task, "processing").await;
                client.delete(&format!("/videos/generations/{task}")).send().await.unwrap();
            }
            client.once(&task, status).await;
            let received = receiver.until("it is told", |all| all.iter().any(|request| request.path == path)).await;
            let mut ours = received.iter().filter(|request| request.path == path);
            let (told, more) = (ours.next().unwrap(), ours.next());
            assert!(more.is_none(), "of the end only, and once: {more:?}");
            assert_eq!((told.header("x-tenant"), told.header("authorization")), ("7", "Bearer of-the-receiver"));
            assert_eq!(
                (told.header("x-webhook-type"), told.header("content-type")),
                ("completion", "application/json")
            );
            let at: i64 = told.header("x-webhook-timestamp").parse().unwrap();
            assert!(server.app().clock.now().as_secs() - at < 60);
            let id = told.header("x-webhook-id");
            if client.is_a() {
                assert_eq!(id, "");
            } else {
                assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            }
            assert!(told.id().starts_with("evt_video_") && told.signatures() == 1, "and ours beside");

            let body = &told.body;
            assert_eq!((&body["task_id"], &body["status"]), (&json!(task), &json!(status)), "{body}");
            assert_eq!(body["webhook_type"], "video_generation_completed");
            let timestamp = body["timestamp"].as_str().unwrap();
            assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{timestamp}");
            assert_eq!((&body["model"], &body["prompt"]), (&json!("sandbox"), &json!(prompt)));
            assert_eq!(body["metadata"], json!({"order": "4711"}));
            assert!(body["generation_duration_seconds"].as_f64().unwrap() >= 0.0);
            if status == "completed" {
                assert_eq!(body["video_url"], client.file_of(&task).await);
                assert_eq!(body.get("error"), client.is_a().then_some(&Value::Null));
            } else {
                assert!(body["error"].is_string(), "{body}");
                assert_eq!(body.get("video_url"), client.is_a().then_some(&Value::Null));
            }
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_the_same_on_every_try_and_another_for_another_event() {
    let receiver = Receiver::start().await;
    receiver.answer(500);
    let server = Server::start_with(|config| {
        config.webhooks.allow_http = true;
        config.webhooks.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let [_, client] = both(&server);
    let mut body = small("no [sandbox fail=content_policy duration=1ms]");
    body["webhook_url"] = json!(receiver.url("/x"));
    let task = client.task(&body).await;
    receiver.until("it is tried", |all| !all.is_empty()).await;
    receiver.answer(200);
    let tried = receiver.until("it is tried again", |all| all.len() >= 2).await;
    let id = |n: usize| tried[n].header("x-webhook-id").to_owned();
    assert_eq!(id(0), id(1));
    assert_eq!(tried[0].body, tried[1].body);
    client.once(&task, "failed").await;
    client.post(&format!("/videos/generations/tasks/{task}/retry")).send().await.unwrap();
    let other = receiver.until("the second end is told", |all| all.len() >= 3).await;
    assert_ne!(other[2].header("x-webhook-id"), id(0));
    server.stop().await;
}
