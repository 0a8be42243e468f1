//! Prices before paying, and a client's limit on them.

use longtake_testing::sim::{Faults, Options, Simulator};
use reqwest::multipart::Form;
use serde_json::{Value, json};

use crate::app::{Server, base64, code, png, tiny};

/// Two sandboxes that play at costs, a vendor with a catalogue, and a server whose prices nobody knows.
fn config() -> String {
    r#"
[accounts.dear]
provider = "sandbox"
[accounts.cheap]
provider = "sandbox"
[accounts.vendor]
provider = "minimax"
api_key = "k"
base_url = "http://127.0.0.1:9"
[accounts.own]
provider = "openai_compatible"
base_url = "http://127.0.0.1:9/v1"
[models.toy]
routes = [{ account = "dear", model = "sandbox" }]
price_usd_per_second = 0.30
[models.both]
routes = [{ account = "own", model = "unpriced" }, { account = "cheap", model = "sandbox" }]
[models.h3]
routes = [{ account = "vendor", model = "MiniMax-H3" }]
[models.hailuo]
routes = [{ account = "vendor", model = "MiniMax-Hailuo-2.3" }]
[models.old]
routes = [{ account = "vendor", model = "T2V-01" }]
[models.gpus]
routes = [{ account = "own", model = "wan" }]
"#
    .to_owned()
}

async fn server() -> Server {
    Server::start_called_back(|_| config()).await
}

async fn quote(server: &Server, body: &Value) -> Value {
    let response = server.post("/v1/videos/quote").json(body).send().await.unwrap();
    let status = response.status().as_u16();
    let quote: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{quote}");
    quote
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_is_exact_to_size_and_length_and_makes_nothing() {
    let server = server().await;
    for (body, cost, source) in [
        (json!({"prompt": "x", "model": "sandbox"}), json!(0.0), json!("catalogue")),
        (json!({"prompt": "x", "model": "toy", "seconds": "7"}), json!(2.1), json!("config")),
        (json!({"prompt": "x", "model": "h3", "seconds": 5}), json!(0.4), json!("catalogue")),
        (json!({"prompt": "x", "model": "h3", "seconds": 5, "size": "2560x1440"}), json!(0.65), json!("catalogue")),
        (
            json!({"prompt": "x", "model": "h3", "seconds": 5, "provider_options": {"resolution": "2K"}}),
            json!(0.65),
            json!("catalogue"),
        ),
        (json!({"prompt": "x", "model": "hailuo", "seconds": 6}), json!(0.28), json!("catalogue")),
        (json!({"prompt": "x", "model": "hailuo", "seconds": 10}), json!(0.56), json!("catalogue")),
        (json!({"prompt": "x", "model": "hailuo", "size": "1920x1080"}), json!(0.49), json!("catalogue")),
        (json!({"prompt": "x", "model": "old"}), Value::Null, Value::Null),
        (json!({"prompt": "x", "model": "gpus"}), Value::Null, Value::Null),
    ] {
        let quote = quote(&server, &body).await;
        assert_eq!(quote["object"], "video.quote");
        assert_eq!((&quote["cost_usd"], &quote["price_source"]), (&cost, &source), "{body}: {quote}");
        assert_eq!(quote["note"].is_string(), cost.is_null(), "{quote}");
    }
    let quote = quote(&server, &json!({"prompt": "x", "model": "both", "seconds": "2", "size": "64x64"})).await;
    assert_eq!((&quote["model"], &quote["seconds"], &quote["size"]), (&json!("both"), &json!("2"), &json!("64x64")));
    let routes = quote["routes"].as_array().unwrap();
    let shown: Vec<_> =
        routes.iter().map(|route| (&route["account"], &route["charged_on"], &route["cost_usd"])).collect();
    assert_eq!(
        shown,
        [(&json!("own"), &json!("submit"), &Value::Null), (&json!("cheap"), &json!("success"), &json!(0.0))]
    );

    let form = Form::new().text("prompt", "x").text("model", "toy").text("seconds", "2").text("max_cost_usd", "0.60");
    let answer = server.post("/v1/videos/quote").multipart(form).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((&answer["cost_usd"], &answer["max_cost_usd"]), (&json!(0.6), &json!(0.6)), "{answer}");

    let mut pictured = tiny("x");
    pictured["input_reference"] = json!({"image_url": format!("data:image/png;base64,{}", base64(&png()))});
    assert_eq!(server.post("/v1/videos/quote").json(&pictured).send().await.unwrap().status().as_u16(), 200);
    assert!(!server.artifacts().join("1/inputs").exists(), "not even the image is kept");
    assert_eq!(server.json("/v1/videos").await["data"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_refuses_what_a_create_refuses() {
    let server = server().await;
    for body in [
        json!({}),
        json!({"prompt": " "}),
        json!({"prompt": "x", "model": "none"}),
        json!({"prompt": "x", "model": "h3", "seconds": 3}),
        json!({"prompt": "x", "model": "hailuo", "seconds": 10, "size": "1920x1080"}),
        json!({"prompt": "x", "size": "wide"}),
        json!({"prompt": "x", "n": 2}),
        json!({"prompt": "x", "max_cost_usd": 0}),
        json!({"prompt": "x", "model": "toy", "seconds": "4", "max_cost_usd": 1.19}),
        json!({"prompt": "x", "provider_options": {"fps": 0}}),
        json!({"prompt": "x", "input_reference": {"file_id": "file_1"}}),
        json!({"prompt": "x", "input_reference": {"image_url": "http://127.0.0.1/x.png"}}),
    ] {
        let quoted = code(server.post("/v1/videos/quote").json(&body)).await;
        assert_eq!(quoted, code(server.post("/v1/videos").json(&body)).await, "{body}");
        assert_eq!(quoted.0, 400, "{body}");
    }
    assert_eq!(code(server.get("/v1/videos/quote")).await, (405, "method_not_allowed".to_owned()));
    assert_eq!(code(server.post("/v1/videos/quote").anonymous()).await, (401, "invalid_api_key".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_kept_before_anything_is_accepted() {
    let server = server().await;
    let create = |model: &str, limit: Value| {
        let body = json!({"prompt": "x [sandbox hang]", "model": model, "seconds": "4", "max_cost_usd": limit});
        server.post("/v1/videos").json(&body)
    };
    let exceeded = (400, "max_cost_exceeded".to_owned());
    assert_eq!(code(create("toy", json!(1.19))).await, exceeded);
    assert_eq!(code(create("toy", json!("1.199999"))).await, exceeded);
    assert_eq!(code(create("gpus", json!(100))).await, exceeded, "what is not known cannot be bounded");
    let response = create("toy", json!(1.19)).send().await.unwrap();
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["error"]["param"], "max_cost_usd");
    assert!(error["error"]["message"].as_str().unwrap().contains("1.2 dollars"), "{error}");
    assert_eq!(server.json("/v1/videos").await["data"], json!([]));

    assert_eq!(create("toy", json!("1.2")).send().await.unwrap().status().as_u16(), 200, "exactly the price fits");
    let video: Value = create("both", json!(0.01)).send().await.unwrap().json().await.unwrap();
    let running = server.in_state(&video, "running").await;
    assert_eq!(running["provider"], "sandbox", "the route without a price was passed over: {running}");
    let timeline = server.json(&format!("/v1/videos/{}/timeline", video["id"].as_str().unwrap())).await;
    assert_eq!(timeline["attempts"].as_array().unwrap().len(), 1, "{timeline}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_belongs_to_what_a_key_stands_for() {
    let server = server().await;
    let keyed = |limit: Value| {
        let body = json!({"prompt": "x [sandbox hang]", "model": "toy", "seconds": "4", "max_cost_usd": limit});
        server.post("/v1/videos").header("idempotency-key", "limit").json(&body)
    };
    let first: Value = keyed(json!(1.5)).send().await.unwrap().json().await.unwrap();
    let same: Value = keyed(json!("1.50")).send().await.unwrap().json().await.unwrap();
    assert_eq!(same["id"], first["id"]);
    assert_eq!(code(keyed(json!(2))).await, (409, "idempotency_key_reused".to_owned()));
    server.stop().await;
}

/// A vendor that charges on submission: what failed was paid, and a retry would make it twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_could_break_the_limit_is_refused() {
    let simulator = Simulator::start(Options { duration_ms: 50, faults: Faults::default(), ..Options::default() });
    let url = simulator.url();
    let server = Server::start_called_back(|_| {
        format!(
            r#"
[accounts.sim]
provider = "openai_compatible"
api_key = "test"
base_url = "{url}/v1"
poll_first_ms = 50
poll_ceiling_ms = 100
[models.sim]
routes = [{{ account = "sim", model = "wan" }}]
price_usd_per_second = 0.10
"#
        )
    })
    .await;
    let make = async |limit: Value| {
        let prompt = "x [sim fail=internal_error]";
        let video =
            server.create(&json!({"prompt": prompt, "model": "sim", "seconds": "4", "max_cost_usd": limit})).await;
        let failed = server.finished(&video).await;
        assert_eq!((&failed["status"], &failed["cost_usd"]), (&json!("failed"), &json!(0.4)), "{failed}");
        format!("/v1/videos/{}/retry", video["id"].as_str().unwrap())
    };
    let once = make(json!(0.79)).await;
    assert_eq!(code(server.post(&once)).await, (400, "max_cost_exceeded".to_owned()));
    assert_eq!(simulator.ledger().accepted(), 1);
    let twice = make(json!(0.8)).await;
    assert_eq!(server.post(&twice).send().await.unwrap().status().as_u16(), 200);
    let video = server.json(twice.strip_suffix("/retry").unwrap()).await;
    server.finished(&video).await;
    assert_eq!(simulator.ledger().accepted(), 3);
    assert_eq!(code(server.post(&twice)).await, (400, "max_cost_exceeded".to_owned()));
    server.stop().await;
    simulator.shutdown();
}
