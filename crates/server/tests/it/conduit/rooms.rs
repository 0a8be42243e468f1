//! Discovery, ephemeral keys, and events under the hub's names.

use std::time::Duration;

use longtake::http::auth::key_hash;
use longtake::http::conduit::ephemeral::seal;
use serde_json::{Value, json};

use super::{answer, both, key, small};
use crate::app::Server;

#[tokio::test(flavor = "multi_thread")]
async fn models_tell_what_a_create_may_say() {
    let server = Server::start().await;
    for client in both(&server) {
        let (status, list) = answer(client.get("/discovery/models?capability=video_generation")).await;
        assert_eq!((status, &list["count"]), (200, &json!(1)), "{list}");
        let model = &list["data"][0];
        assert_eq!((&model["id"], &model["provider"]), (&json!("sandbox"), &json!("sandbox")));
        assert_eq!((&model["supports_video_generation"], &model["supports_chat"]), (&json!(true), &json!(false)));
        let parameters: Value = serde_json::from_str(model["parameters"].as_str().unwrap()).unwrap();
        let duration = &parameters["duration"];
        assert_eq!((&duration["type"], &duration["default"]), (&json!("select"), &json!("4")));
        assert_eq!(duration["options"][0], json!({"value": "1", "label": "1 second"}));
        assert_eq!(duration["options"].as_array().unwrap().len(), 60);
        assert!(parameters["fps"].is_object() && parameters["seed"].is_null(), "what the model knows, no more");
        // Every field it offers, with its default, makes a task.
        let mut body = json!({"prompt": "form [sandbox hang]", "model": "sandbox"});
        for (name, field) in parameters.as_object().unwrap() {
            assert!(["select", "number", "text", "textarea", "switch"].contains(&field["type"].as_str().unwrap()));
            assert!(field["label"].is_string());
            body[name] = field["default"].clone();
        }
        assert_eq!(client.accepted(&body).await.get(client.name("ignored_parameters")), None);

        assert_eq!(answer(client.get("/discovery/models")).await.1, list);
        assert_eq!(answer(client.get("/discovery/models?capability=chat")).await.1, json!({"data": [], "count": 0}));
        let told = answer(client.get("/discovery/models/sandbox/parameters")).await.1;
        assert_eq!(told, json!({"model": "sandbox", "parameters": parameters}));
        assert_eq!(answer(client.get("/discovery/models/other/parameters")).await.0, 404);
        let told = answer(client.get("/discovery/capabilities")).await.1;
        assert_eq!(told, json!({"data": ["video_generation"], "count": 1}));
        assert_eq!(answer(client.get("/discovery/models").anonymous()).await.0, 401);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_key_stands_for_its_key() {
    let server = Server::start().await;
    for client in both(&server) {
        let (id, real) = key(&server, json!({"name": "real", "project": "shop"})).await;
        let (status, made) = answer(client.post("/auth/ephemeral-key").bearer_auth(&real)).await;
        assert_eq!(status, 200, "{made}");
        let ephemeral = made[client.name("ephemeral_key")].as_str().unwrap().to_owned();
        assert!(ephemeral.starts_with("ek_") && !made.to_string().contains(&real), "{made}");
        assert_eq!(made[client.name("expires_in_seconds")], 300);
        assert!(made[client.name("expires_at")].as_str().unwrap().len() > 19);
        // As often as it is wanted, in either header, for the same project.
        let create = client.post("/videos/generations/async").bearer_auth(&ephemeral).json(&small("[sandbox hang] x"));
        let task = answer(create).await.1[client.name("task_id")].as_str().unwrap().to_owned();
        let path = format!("/videos/generations/tasks/{task}");
        for _ in 0..2 {
            assert_eq!(answer(client.get(&path).anonymous().header("x-api-key", &ephemeral)).await.0, 200);
        }
        assert_eq!(answer(client.get(&path).bearer_auth(&real)).await.0, 200);
        assert_eq!(answer(client.get(&path)).await.0, 404, "the project is the key's");
        assert_eq!(answer(server.get("/v1/videos").bearer_auth(&ephemeral)).await.0, 200);

        // It makes no keys, and none of its own kind.
        let (_, of_admin) = answer(client.post("/auth/ephemeral-key").json(&json!({"metadata": {"page": 1}}))).await;
        let of_admin = of_admin[client.name("ephemeral_key")].as_str().unwrap().to_owned();
        assert_eq!(answer(server.get("/v1/api_keys").bearer_auth(&of_admin)).await.0, 403);
        assert_eq!(answer(client.post("/auth/ephemeral-key").bearer_auth(&of_admin)).await.0, 403);
        assert_eq!(answer(server.get("/v1/videos").bearer_auth(&of_admin)).await.0, 200);

        let mut changed = ephemeral.clone().into_bytes();
        let last = changed.len() - 20;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        for wrong in [changed.as_str(), "ek_", "ek_AAAA", &ephemeral[..40], &ephemeral.replace("ek_", "ek-")] {
            assert_eq!(answer(client.get(&path).bearer_auth(wrong)).await.0, 401, "{wrong}");
        }
        let (hash, now) = (key_hash(&real), server.app().clock.now());
        let (over, fresh) = (now - Duration::from_secs(1), now + Duration::from_secs(60));
        for (until, status) in [(over, 401), (fresh, 200)] {
            let sealed = seal(server.app(), &hash, until).unwrap();
            assert_eq!(answer(client.get(&path).bearer_auth(&sealed)).await.0, status);
        }
        // It dies with its key.
        server.delete(&format!("/v1/api_keys/{id}")).send().await.unwrap();
        assert_eq!(answer(client.get(&path).bearer_auth(&ephemeral)).await.0, 401);
        assert_eq!(answer(client.post("/auth/ephemeral-key").anonymous()).await.0, 401);
        assert_eq!(answer(client.post("/auth/ephemeral-key").body("{")).await.0, 400);
    }
    server.stop().await;
}

/// The events of a stream: name, number, data.
fn events(text: &str) -> Vec<(String, u32, Value)> {
    let field = |block: &str, name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let event = |block: &str| {
        let number = field(block, "id: ")?.parse().unwrap();
        Some((field(block, "event: ")?, number, serde_json::from_str(&field(block, "data: ")?).unwrap()))
    };
    text.split("\n\n").filter_map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_the_names_of_the_hub() {
    let server = Server::start().await;
    for client in both(&server) {
        for (prompt, last, members) in [
            (
                "ok [sandbox duration=1ms]",
                "VideoGenerationCompleted",
                vec!["videoUrl", "fileSize", "cost", "completedAt"],
            ),
            (
                "no [sandbox fail=content_policy duration=1ms]",
                "VideoGenerationFailed",
                vec!["error", "errorCode", "failedAt"],
            ),
        ] {
            let task = client.task(&small(prompt)).await;
            let path = format!("/videos/generations/tasks/{task}/events");
            let response = client.get(&path).send().await.unwrap();
            assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
            let told = events(&response.text().await.unwrap());
            let names: Vec<&str> = told.iter().map(|(name, _, _)| name.as_str()).collect();
            assert_eq!((names[0], names[names.len() - 1]), ("VideoGenerationProgress", last), "{names:?}");
            assert!(names.contains(&"VideoGenerationStarted"), "{names:?}");
            assert!(told.iter().all(|(_, _, data)| data["taskId"] == task.as_str()));
            let end = &told[told.len() - 1].2;
            assert!(members.iter().all(|name| !end[*name].is_null()), "{end}");
            if last == "VideoGenerationCompleted" {
                assert_eq!(end["videoUrl"], format!("{}{}", server.base, client.file_of(&task).await));
            }
            // Resumed behind the first, the rest comes again as it was.
            let after = told[0].1.to_string();
            let again = client.get(&path).header("last-event-id", &after).send().await.unwrap();
            assert_eq!(events(&again.text().await.unwrap()), told[1..]);
        }
        let task = client.task(&small("stop [sandbox hang]")).await;
        client.delete(&format!("/videos/generations/{task}")).send().await.unwrap();
        let text =
            client.get(&format!("/videos/generations/tasks/{task}/events")).send().await.unwrap().text().await.unwrap();
        assert_eq!(events(&text).last().unwrap().0, "VideoGenerationCancelled");
    }
    server.stop().await;
}
