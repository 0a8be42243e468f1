//! MiniMax's two wires.

use std::sync::{Arc, Mutex};

use longtake_testing::sim::{CreateFault, Faults, Options, Simulator};
use longtake_testing::wait_until;
use serde_json::{Value, json};

use crate::{BOUND, client, get};

async fn post(url: String, body: &Value) -> (u16, Value) {
    let answer = client().post(url).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn create_v2(sim: &Simulator, body: &Value) -> (u16, Value) {
    post(format!("{}/v2/video_generation", sim.url()), body).await
}

fn good() -> Value {
    json!({"model": "MiniMax-H3", "resolution": "768P", "duration": 6, "ratio": "16:9",
        "content": [{"type": "text", "text": "a paper boat"}]})
}

fn with(field: &str, value: Value) -> Value {
    let mut body = good();
    body[field] = value;
    body
}

fn image(role: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}, "role": role})
}

fn content(items: &[Value]) -> Value {
    let mut all = vec![json!({"type": "text", "text": "a paper boat"})];
    all.extend_from_slice(items);
    with("content", Value::Array(all))
}

#[tokio::test]
async fn v2_refuses_whatever_breaks_a_documented_rule() {
    let sim = Simulator::start(Options::default());
    let audio = json!({"type": "audio_url", "audio_url": {"url": "https://x.test/a.mp3"}, "role": "reference_audio"});
    let plain = json!({"type": "image_url", "image_url": {"url": "http://x.test/a.png"}, "role": "first_frame"});
    let mut max = good();
    (max["model"], max["duration"]) = (json!("MiniMax-H3-Max"), json!(4));
    let wrong = [
        with("model", json!("sora-2")),
        with("duration", json!(6.5)),
        with("duration", json!("6")),
        with("duration", json!(3)),
        with("duration", json!(16)),
        with("resolution", json!("768p")),
        with("resolution", json!("480P")),
        with("ratio", json!("2:1")),
        with("ratio", json!("adaptive")),
        with("seed", json!(1)),
        with("content", json!([])),
        with("content", json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
        with("content", json!([{"type": "text", "text": "x".repeat(7001)}])),
        content(&[image("last_frame")]),
        content(&[image("first_frame"), image("reference_image")]),
        content(&[image("reference_video")]),
        content(&[audio]),
        content(&[plain]),
        content(&vec![image("reference_image"); 10]),
        max,
    ];
    for body in wrong {
        let (status, answer) = create_v2(&sim, &body).await;
        assert_eq!(status, 400, "{body}");
        assert_eq!(answer["error"]["http_code"], "400");
        assert!(answer["error"]["message"].as_str().unwrap().ends_with("(2013)"), "{answer}");
    }
    assert_eq!(sim.ledger().accepted(), 0);
    for body in [good(), content(&[image("first_frame"), image("last_frame")]), content(&[image("reference_image")])] {
        let (status, answer) = create_v2(&sim, &body).await;
        assert_eq!(status, 200, "{body}: {answer}");
        assert_eq!(answer.as_object().unwrap().len(), 1, "only task_id");
    }
}

#[tokio::test]
async fn v2_errors_have_their_documented_status() {
    let sim = Simulator::start(Options::default());
    let codes = [(1000, 500), (1002, 429), (1004, 401), (1008, 402), (1026, 422), (2013, 400)];
    for (code, expected) in codes {
        let text = json!([{"type": "text", "text": format!("[sim error={code}]")}]);
        let (status, answer) = create_v2(&sim, &with("content", text)).await;
        assert_eq!(status, expected);
        assert_eq!(answer["error"]["http_code"], expected.to_string());
        assert!(answer["error"]["message"].as_str().unwrap().ends_with(&format!("({code})")));
    }
    sim.set_faults(Faults::next(CreateFault::Overloaded, 1));
    let (status, answer) = create_v2(&sim, &good()).await;
    assert_eq!((status, answer["error"]["type"].as_str()), (529, Some("overloaded_error")));
    assert_eq!(sim.ledger().accepted(), 0);
}

#[tokio::test]
async fn v2_tasks_are_queried_listed_and_deleted() {
    let sim = Simulator::start(Options::default());
    let text = |text: &str| with("content", json!([{"type": "text", "text": text}]));
    let id = async |prompt: &str| create_v2(&sim, &text(prompt)).await.1["task_id"].as_str().unwrap().to_owned();
    let done = id("[sim duration_ms=0]").await;
    let failed = id("[sim duration_ms=0 fail=1027]").await;
    let running = id("[sim duration_ms=600000]").await;
    let queued = id("[sim queue_ms=600000]").await;
    let base = format!("{}/v2/query/video_generation", sim.url());
    let (_, shown) = get(format!("{base}/{done}")).await;
    assert_eq!(shown["task"]["status"], "succeeded");
    assert_eq!(shown["task"]["usage"]["output_seconds"], 6);
    let file = client().get(shown["task"]["content"]["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(file.headers()["content-type"], "video/mp4");
    assert_eq!(get(format!("{base}/{failed}")).await.1["task"]["error"]["code"], "1027");
    assert_eq!(get(format!("{base}/{running}")).await.1["task"]["usage"], json!({}));
    assert_eq!(get(format!("{base}/404")).await.0, 400);

    let (_, page) = get(format!("{base}?page_num=2&page_size=3")).await;
    assert_eq!((&page["total"], page["items"].as_array().unwrap().len()), (&json!(4), 1));
    assert!(!page.to_string().contains("[sim"), "a list has no prompts");
    assert_eq!(get(format!("{base}?filter.status=running")).await.1["items"][0]["id"], running.as_str());
    assert_eq!(get(format!("{base}?filter.task_ids={done},{queued}")).await.1["total"], 2);
    assert_eq!(get(format!("{base}?filter.model=MiniMax-H3-Max")).await.1["total"], 0);

    let delete = async |id: &str| {
        let answer = client().delete(format!("{}/v2/video_generation/{id}", sim.url())).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(delete(&running).await.0, 400, "a running task cannot be canceled");
    assert_eq!(delete(&queued).await.1["status"], "cancelled");
    assert_eq!(delete(&queued).await.0, 400);
    assert_eq!(delete(&done).await.0, 200);
    assert_eq!(get(format!("{base}/{done}")).await.0, 400, "its record is gone");
    assert_eq!(sim.ledger().billed(), 3);
}

#[tokio::test]
async fn v1_says_200_and_puts_the_error_in_the_body() {
    let sim = Simulator::start(Options { duration_ms: 0, ..Options::default() });
    let create = async |body: Value| post(format!("{}/v1/video_generation", sim.url()), &body).await;
    let wrong = [
        json!({"prompt": "p"}),
        json!({"model": "MiniMax-Hailuo-2.3", "prompt": "p", "duration": 7}),
        json!({"model": "MiniMax-Hailuo-2.3", "prompt": "p", "duration": 10, "resolution": "1080P"}),
        json!({"model": "MiniMax-Hailuo-2.3-Fast", "prompt": "p"}),
    ];
    for body in wrong {
        let (status, answer) = create(body).await;
        assert_eq!((status, &answer["base_resp"]["status_code"]), (200, &json!(2013)));
        assert_eq!(answer["task_id"], "");
    }
    for code in [1000, 1001, 1024, 1033, 1002, 1039, 1041, 2045, 1004, 2049, 1008, 2056, 1013, 2013, 1026, 1027] {
        let (status, answer) =
            create(json!({"model": "MiniMax-Hailuo-2.3", "prompt": format!("[sim error={code}]")})).await;
        assert_eq!((status, &answer["base_resp"]["status_code"]), (200, &json!(code)));
    }
    let (_, answer) = create(json!({"model": "MiniMax-Hailuo-2.3", "prompt": "[sim fail=1027]"})).await;
    let query = async |id: &Value| {
        get(format!("{}/v1/query/video_generation?task_id={}", sim.url(), id.as_str().unwrap())).await.1
    };
    let failed = query(&answer["task_id"]).await;
    assert_eq!((&failed["status"], &failed["base_resp"]["status_code"]), (&json!("Fail"), &json!(1027)));
    let (_, answer) = create(json!({"model": "MiniMax-Hailuo-2.3", "prompt": "p"})).await;
    let done = query(&answer["task_id"]).await;
    assert_eq!(done["status"], "Success");
    let url = format!("{}/v1/files/retrieve?file_id={}", sim.url(), done["file_id"].as_str().unwrap());
    let (_, file) = get(url).await;
    let bytes =
        client().get(file["file"]["download_url"].as_str().unwrap()).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.len() as u64, file["file"]["bytes"].as_u64().unwrap());
    assert!((sim.ledger().billed_usd() - 0.56).abs() < 1e-9);
}

#[tokio::test]
async fn callbacks_are_challenged_and_follow_the_status() {
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cb/token", listener.local_addr().unwrap());
    let noted = Arc::clone(&seen);
    let receive = move |body: axum::Json<Value>| async move {
        noted.lock().unwrap().push(body.0.clone());
        axum::Json(json!({"challenge": body["challenge"]}))
    };
    let app = axum::Router::new().route("/cb/token", axum::routing::post(receive));
    tokio::spawn(async { axum::serve(listener, app).await });
    let sim =
        Simulator::start(Options { faults: Faults { callback_copies: 2, ..Faults::default() }, ..Options::default() });

    let (status, _) = create_v2(&sim, &with("callback_url", json!("http://127.0.0.1:1/nobody"))).await;
    assert_eq!(status, 400, "nobody answers the challenge");
    let (status, answer) = create_v2(&sim, &with("callback_url", json!(url))).await;
    assert_eq!(status, 200);
    let told = || {
        let seen = seen.lock().unwrap();
        let done = seen.iter().filter(|body| body["task"]["status"] == "succeeded");
        done.filter(|body| body["task"]["id"] == answer["task_id"]).count()
    };
    wait_until("the success is told twice", BOUND, async || told() == 2).await;
    assert_eq!(sim.ledger().jobs()[0].callback_url.as_deref(), Some(url.as_str()));
    assert_eq!(sim.ledger().billed(), 1);
}
