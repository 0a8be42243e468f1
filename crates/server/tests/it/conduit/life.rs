//! 4, 7, 9: statuses, results, retry and cancel.

use longtake_testing::sim::{CreateFault, Faults, Options, Simulator};
use longtake_testing::wait_until;
use serde_json::{Value, json};

use super::{BOUND, answer, both, small, video_of};
use crate::app::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_task_has_a_typed_result() {
    let server = Server::start().await;
    for client in both(&server) {
        let task = client.task(&small("typed [sandbox duration=1ms]")).await;
        let done = client.once(&task, "completed").await;
        let video = server.json(&format!("/v1/videos/{}", video_of(&task)["id"].as_str().unwrap())).await;
        assert_eq!((&done["progress"], &done[client.name("task_id")]), (&json!(100), &json!(task)));
        assert!(done[client.name("completed_at")].is_string() && done[client.name("updated_at")].is_string());
        let made = if client.is_a() {
            // `result` is text that holds JSON, and nulls are there.
            assert_eq!(done["error"], Value::Null);
            assert!(done.as_object().unwrap().contains_key("error"));
            let old: Value = serde_json::from_str(done["result"].as_str().unwrap()).unwrap();
            assert_eq!(old["videoUrl"], done["videoResponse"]["data"][0]["url"]);
            assert_eq!((&old["model"], &old["created"]), (&json!("sandbox"), &video["completed_at"]));
            assert!(old["duration"].as_f64().unwrap() > 0.0);
            done["videoResponse"].clone()
        } else {
            assert!(!done.as_object().unwrap().contains_key("error"), "B leaves nulls out");
            let raw: Value = serde_json::from_str(done["result_raw"].as_str().unwrap()).unwrap();
            assert_eq!(raw, done["result"], "d: the raw text says no more than the result");
            done["result"].clone()
        };
        // d: the alias, figures of the file, and our own link.
        assert_eq!((&made["model"], &made["created"]), (&json!("sandbox"), &video["completed_at"]));
        let file = &made["data"][0];
        let url = file["url"].as_str().unwrap().strip_prefix(&server.base).expect("where the client came by");
        assert!(url.starts_with(&format!("{}/media/video/", client.prefix)), "{url}");
        let metadata = &file["metadata"];
        let bytes = server.get(url).anonymous().send().await.unwrap().bytes().await.unwrap();
        assert_eq!((&metadata["width"], &metadata["height"]), (&json!(64), &json!(64)));
        assert_eq!((&metadata["duration"], &metadata["fps"]), (&json!(1.0), &json!(5.0)));
        assert_eq!((&metadata["codec"], &metadata["mime_type"]), (&json!("h264"), &json!("video/mp4")));
        assert_eq!((&metadata["file_size_bytes"], &metadata["format"]), (&json!(bytes.len()), &json!("mp4")));
        assert_eq!(metadata["bitrate"], bytes.len() * 8);
        let usage = json!({"videos_generated": 1, "total_duration_seconds": 1.0, "estimated_cost": 0.0});
        assert_eq!(made["usage"], usage);
        assert_eq!(client.file_of(&task).await, url, "and it stays the same");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_tells_how_far_it_is_d() {
    let server = Server::start().await;
    for client in both(&server) {
        let task = client.task(&small("slowly [sandbox duration=20s]")).await;
        let mut seen = Value::Null;
        wait_until("it tells a figure", BOUND, async || {
            seen = client.status(&task).await;
            seen["progress"].as_u64().is_some_and(|percent| percent > 0)
        })
        .await;
        assert_eq!(seen["status"], "processing");
        assert!(seen["progress"].as_u64().unwrap() < 100 && seen.get("completed_at").is_none(), "{seen}");
        let (_, generic) = answer(client.get(&format!("/tasks/{task}"))).await;
        assert!(generic["progress"].as_u64() >= seen["progress"].as_u64(), "{generic}");
        assert_eq!(answer(client.delete(&format!("/videos/generations/{task}"))).await.0, 204);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_begin_with_the_public_address() {
    let server = Server::start_called_back(|_| "public_url = \"https://video.example.com/up/\"\n".to_owned()).await;
    let [_, client] = both(&server);
    let task = client.task(&small("public [sandbox duration=1ms]")).await;
    let done = client.once(&task, "completed").await;
    let url = done["result"]["data"][0]["url"].as_str().unwrap();
    assert!(url.starts_with("https://video.example.com/up/v1/conduit/media/video/"), "{url}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_has_conduits_word() {
    let vendor =
        Simulator::start(Options { faults: Faults::script([CreateFault::DropAfterAccept]), ..Options::default() });
    let url = vendor.url();
    let server = Server::start_called_back(|_| {
        format!(
            "[accounts.sim]\nprovider = \"openai_compatible\"\napi_key = \"k\"\nbase_url = \"{url}/v1\"\nlookup = \"none\"\n\
             absence_settle_ms = 100\nverify_deadline_ms = 1\n\
             [accounts.sim.options]\nsubmit_timeout_ms = 90\n\
             [models.wan]\nroutes = [{{ account = \"sim\", model = \"wan-2.2\" }}]\n"
        )
    })
    .await;
    let [a, b] = both(&server);
    let running = b.task(&small("runs [sandbox hang]")).await;
    assert_eq!(b.once(&running, "processing").await["progress"], 0);
    let mut hurried = small("late [sandbox hang]");
    hurried["timeout_seconds"] = json!("1");
    let late = a.task(&hurried).await;
    let failing = a.task(&small("no [sandbox fail=content_policy duration=1ms]")).await;
    for client in [a, b] {
        assert!(client.once(&late, "timedout").await["error"].is_string());
        let failed = client.once(&failing, "failed").await;
        assert!(failed["error"].as_str().unwrap().len() > 5, "{failed}");
        assert!(failed[client.name("completed_at")].is_string());
    }
    // The vendor took it and the answer was lost: nobody can find out.
    let doubted = b.task(&json!({"prompt": "lost", "model": "wan", "duration": 4, "size": "1280x720"})).await;
    server.in_state(&video_of(&doubted), "held").await;
    assert!(b.status(&doubted).await["error"].as_str().unwrap().contains("nobody can find out"));
    assert_eq!(b.status(&doubted).await["status"], "indeterminate");
    assert_eq!(a.status(&doubted).await["status"], "processing", "A has no word for it, and it may go on");
    // Cancelling it changes nothing, and a person's decision does.
    assert_eq!(answer(b.delete(&format!("/videos/generations/{doubted}"))).await.0, 204);
    assert_eq!(b.status(&doubted).await["status"], "indeterminate");
    let resolve = format!("/v1/videos/{}/resolve", video_of(&doubted)["id"].as_str().unwrap());
    assert_eq!(answer(server.post(&resolve).json(&json!({"decision": "fail"}))).await.0, 200);
    b.once(&doubted, "failed").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancels_follow_conduits_rules() {
    let server = Server::start().await;
    for client in both(&server) {
        let running = client.task(&small("runs [sandbox hang]")).await;
        client.once(&running, "processing").await;
        let path = format!("/videos/generations/{running}");
        let response = client.delete(&path).send().await.unwrap();
        assert_eq!(response.status(), 204);
        assert_eq!(response.bytes().await.unwrap().len(), 0);
        let cancelled = client.once(&running, "cancelled").await;
        assert_eq!(cancelled["error"], "Task was cancelled");
        assert_eq!(answer(client.delete(&path)).await.0, 204, "again, and nothing changes");
        assert_eq!(client.status(&running).await, cancelled);

        let mut hurried = small("late [sandbox hang]");
        hurried["timeout_seconds"] = json!(1);
        let late = client.task(&hurried).await;
        client.once(&late, "timedout").await;
        assert_eq!(answer(client.delete(&format!("/videos/generations/{late}"))).await.0, 204);
        assert_eq!(client.status(&late).await["status"], "timedout");

        for (prompt, word) in
            [("ok [sandbox duration=1ms]", "completed"), ("no [sandbox fail=provider_error duration=1ms]", "failed")]
        {
            let task = client.task(&small(prompt)).await;
            client.once(&task, word).await;
            let (status, told) = answer(client.delete(&format!("/videos/generations/{task}"))).await;
            assert_eq!(status, 409, "{told}");
            let text = format!("Task is already {word} and cannot be cancelled");
            if client.is_a() {
                assert_eq!((&told["title"], &told["detail"]), (&json!("Cannot Cancel Task"), &json!(text)));
            } else {
                assert_eq!(told["error"]["code"], "invalid_operation");
                assert_eq!(told["error"]["message"], text);
            }
            // The generic route only knows 204 and 404.
            assert_eq!(answer(client.post(&format!("/tasks/{task}/cancel"))).await.0, 204);
            assert_eq!(client.status(&task).await["status"], word);
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_dispatched_at_once_and_three_times_at_most_d() {
    let server = Server::start().await;
    for client in both(&server) {
        let task = client.task(&small("no [sandbox fail=content_policy duration=1ms]")).await;
        let path = format!("/videos/generations/tasks/{task}/retry");
        for n in 1..=3 {
            client.once(&task, "failed").await;
            let (status, told) = answer(client.post(&path)).await;
            assert_eq!(status, 200, "{told}");
            assert_eq!(
                (&told["status"], &told["error"]),
                (&json!("pending"), &json!(format!("Retry {n}/3 scheduled")))
            );
            assert_eq!(told[client.name("task_id")], task);
            // Nobody waits for a sweep: it is driven to its next end.
            server.finished(&video_of(&task)).await;
        }
        let video = server.json(&format!("/v1/videos/{}", video_of(&task)["id"].as_str().unwrap())).await;
        assert_eq!(video["attempt"], 4);
        let (status, told) = answer(client.post(&path)).await;
        let text = "Task has already been retried 3 times (max: 3)";
        assert_eq!(status, 400, "{told}");
        assert!(told.to_string().contains(text) && told.to_string().contains("invalid_operation"), "{told}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_failed_tasks_are_retried() {
    let server = Server::start().await;
    for client in both(&server) {
        let mut hurried = small("late [sandbox hang]");
        hurried["timeout_seconds"] = json!(1);
        let cancelled = client.task(&small("stop [sandbox hang]")).await;
        client.delete(&format!("/videos/generations/{cancelled}")).send().await.unwrap();
        for (task, status, title) in [
            (client.task(&small("ok [sandbox duration=1ms]")).await, "completed", "Completed"),
            (client.task(&small("runs [sandbox hang]")).await, "processing", "Processing"),
            (client.task(&hurried).await, "timedout", "TimedOut"),
            (cancelled, "cancelled", "Cancelled"),
        ] {
            client.once(&task, status).await;
            let (code, told) = answer(client.post(&format!("/videos/generations/tasks/{task}/retry"))).await;
            assert_eq!(code, 400, "{told}");
            let text = format!("Only failed tasks can be retried. Current state: {title}");
            let place = if client.is_a() { &told["detail"] } else { &told["error"]["message"] };
            assert_eq!(place, &json!(text), "{told}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_task_that_waits_says_so() {
    let server = Server::start_called_back(|_| {
        "[accounts.one]\nprovider = \"sandbox\"\nmax_in_flight = 1\n[models.slow]\nroutes = [{ account = \"one\", model = \"sandbox\" }]\n".to_owned()
    })
    .await;
    for client in both(&server) {
        let of = |prompt: &str| {
            let mut body = small(prompt);
            body["model"] = json!("slow");
            body
        };
        let task = client.task(&of("no [sandbox fail=content_policy duration=1ms]")).await;
        client.once(&task, "failed").await;
        let blocker = client.task(&of("in the way [sandbox hang]")).await;
        client.once(&blocker, "processing").await;
        assert_eq!(answer(client.post(&format!("/videos/generations/tasks/{task}/retry"))).await.0, 200);
        let waiting = client.status(&task).await;
        assert_eq!(waiting["status"], "pending");
        assert_eq!(waiting["error"], "Manual retry requested (attempt 1/3)");
        assert_eq!(waiting[client.name("completed_at")], Value::Null);
        for task in [&task, &blocker] {
            assert_eq!(answer(client.delete(&format!("/videos/generations/{task}"))).await.0, 204);
            client.once(task, "cancelled").await;
        }
    }
    server.stop().await;
}
