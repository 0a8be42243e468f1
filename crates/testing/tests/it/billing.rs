//! The ledger: what is billed, what survives, what is one purchase.

use std::io::Write;

use longtake_testing::sim::{CreateFault, Ending, Faults, Ledger, Options, Simulator, SimulatorProcess};
use longtake_testing::wait_until;
use serde_json::{Value, json};

use crate::{BOUND, Scratch, client, create, create_one, get, wait_for};

#[tokio::test]
async fn a_drop_after_accept_bills_and_answers_nothing() {
    let sim = Simulator::start(Options { faults: Faults::next(CreateFault::DropAfterAccept, 1), ..Options::default() });
    let error = create(&sim, &json!({"prompt": "lost"})).await.unwrap_err();
    assert!(!error.is_connect(), "the request was sent before the connection went: {error:?}");
    assert_eq!(sim.ledger().billed(), 1);
    assert_eq!(sim.ledger().by_prompt()["lost"], 1);

    create_one(&sim, "found").await;
    assert_eq!(sim.ledger().billed(), 2, "the script has run out");
}

#[tokio::test]
async fn a_drop_before_accept_bills_nothing() {
    let sim =
        Simulator::start(Options { faults: Faults::next(CreateFault::DropBeforeAccept, 1), ..Options::default() });
    create(&sim, &json!({"prompt": "lost"})).await.unwrap_err();
    assert_eq!(sim.ledger().accepted(), 0);
}

#[tokio::test]
async fn scripted_answers_come_in_order() {
    use CreateFault::{ErrorAfterAccept, ErrorBeforeAccept, Garbage, Overloaded, RateLimited, Reject};
    let script = [ErrorBeforeAccept, ErrorAfterAccept, Reject, RateLimited, Overloaded, Garbage];
    let sim = Simulator::start(Options { faults: Faults::script(script), ..Options::default() });
    let mut seen = Vec::new();
    for _ in script {
        let answer = create(&sim, &json!({"prompt": "p"})).await.unwrap();
        seen.push((answer.status().as_u16(), sim.ledger().billed()));
        match answer.status().as_u16() {
            429 => assert_eq!(answer.headers()["retry-after"], "1"),
            200 => assert!(answer.json::<Value>().await.is_err(), "garbage is no JSON"),
            _ => assert!(answer.json::<Value>().await.unwrap()["error"]["message"].is_string()),
        }
    }
    assert_eq!(seen, [(500, 0), (500, 1), (400, 1), (429, 1), (529, 1), (200, 2)]);
}

#[tokio::test]
async fn rates_are_the_same_for_the_same_seed() {
    let run = async |seed| {
        let faults = Faults { seed, error_before_accept: 0.5, ..Faults::default() };
        let sim = Simulator::start(Options { faults, ..Options::default() });
        let mut seen = Vec::new();
        for _ in 0..40 {
            seen.push(create(&sim, &json!({"prompt": "p"})).await.unwrap().status().as_u16());
        }
        seen
    };
    let first = run(7).await;
    assert!(first.contains(&200) && first.contains(&500));
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
}

#[tokio::test]
async fn a_create_is_accepted_after_its_client_has_gone() {
    let faults = Faults { accept_delay_ms: 150, ..Faults::default() };
    let sim = Simulator::start(Options { faults, ..Options::default() });
    let impatient = client().post(format!("{}/v1/videos", sim.url())).json(&json!({"prompt": "late"}));
    impatient.timeout(std::time::Duration::from_millis(50)).send().await.unwrap_err();
    assert_eq!(sim.ledger().billed(), 0);
    wait_until("the vendor accepts late", BOUND, async || sim.ledger().billed() == 1).await;
}

#[tokio::test]
async fn an_idempotency_key_bills_once() {
    let sim = Simulator::start(Options {
        idempotency_key: true,
        faults: Faults::next(CreateFault::DropAfterAccept, 1),
        ..Options::default()
    });
    let send = async |key: &str, prompt: &str| {
        let post = client().post(format!("{}/v1/videos", sim.url())).header("idempotency-key", key);
        post.json(&json!({ "prompt": prompt })).send().await
    };
    send("k1", "one").await.unwrap_err();
    let again: Value = send("k1", "one").await.unwrap().json().await.unwrap();
    let once_more: Value = send("k1", "one").await.unwrap().json().await.unwrap();
    assert_eq!(again["id"], once_more["id"]);
    assert_eq!(sim.ledger().billed(), 1);
    assert_eq!(sim.ledger().jobs()[0].idempotency_key.as_deref(), Some("k1"));
    assert_eq!(send("k1", "another").await.unwrap().status(), 409);
    assert_eq!(send("k2", "one").await.unwrap().status(), 200);
    assert_eq!(sim.ledger().by_prompt()["one"], 2);
}

#[tokio::test]
async fn an_idempotency_key_is_ignored_or_expires_by_option() {
    for options in
        [Options::default(), Options { idempotency_key: true, idempotency_ttl_ms: Some(0), ..Options::default() }]
    {
        let sim = Simulator::start(options);
        for _ in 0..2 {
            let post = client().post(format!("{}/v1/videos", sim.url())).header("idempotency-key", "k");
            assert_eq!(post.json(&json!({"prompt": "p"})).send().await.unwrap().status(), 200);
        }
        assert_eq!(sim.ledger().bought_twice()["p"], 2);
    }
}

#[tokio::test]
async fn the_ledger_survives_a_restart_and_a_torn_line() {
    let scratch = Scratch::new("restart");
    let options = || Options { ledger: Some(scratch.ledger()), queue_ms: 0, ..Options::default() };
    let sim = Simulator::start(options());
    let id = create_one(&sim, "kept").await;
    sim.shutdown();
    let mut file = std::fs::File::options().append(true).open(scratch.ledger()).unwrap();
    file.write_all(b"{\"line\":\"accepted\",\"provider_jo").unwrap();

    assert_eq!(Ledger::read(&scratch.ledger()).unwrap().billed(), 1);
    let sim = Simulator::start(options());
    wait_for(&sim, &id, "completed").await;
    let next = create_one(&sim, "next").await;
    assert_ne!(id, next);
    let read = Ledger::read(&scratch.ledger()).unwrap();
    assert_eq!(read.jobs(), sim.ledger().jobs());
    assert_eq!(read.billed(), 2);
}

#[tokio::test]
async fn a_cancel_before_the_start_is_not_billed_also_after_a_restart() {
    let scratch = Scratch::new("cancel");
    let options = || Options { ledger: Some(scratch.ledger()), queue_ms: 600_000, ..Options::default() };
    let sim = Simulator::start(options());
    let body = json!({"model": "MiniMax-H3", "resolution": "768P", "duration": 6, "ratio": "16:9",
        "content": [{"type": "text", "text": "regretted"}]});
    let answer = client().post(format!("{}/v2/video_generation", sim.url())).json(&body).send().await.unwrap();
    let id = answer.json::<Value>().await.unwrap()["task_id"].as_str().unwrap().to_owned();
    assert!((sim.ledger().billed_usd() - 0.48).abs() < 1e-9);
    let delete = client().delete(format!("{}/v2/video_generation/{id}", sim.url())).send().await.unwrap();
    assert_eq!(delete.json::<Value>().await.unwrap()["status"], "cancelled");
    sim.shutdown();
    let sim = Simulator::start(options());
    assert_eq!((sim.ledger().accepted(), sim.ledger().billed()), (1, 0));
    assert_eq!(sim.ledger().ending(&id), Some(Ending::Canceled));
    let (_, shown) = get(format!("{}/v2/query/video_generation/{id}", sim.url())).await;
    assert_eq!(shown["task"]["status"], "cancelled");
}

#[tokio::test]
async fn forgetting_hides_jobs_but_not_their_bill() {
    let sim = Simulator::start(Options::default());
    let id = create_one(&sim, "p").await;
    sim.set_faults(Faults { forget: true, ..Faults::default() });
    assert_eq!(get(format!("{}/v1/videos/{id}", sim.url())).await.0, 404);
    let after = create_one(&sim, "q").await;
    assert_eq!(get(format!("{}/v1/videos/{after}", sim.url())).await.0, 200);
    assert_eq!(sim.ledger().billed(), 2);
}

#[tokio::test]
async fn orders_in_the_prompt_strike_as_often_as_they_say() {
    let sim = Simulator::start(Options::default());
    let body = json!({"prompt": "[sim create=error_after_accept times=2] p"});
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(create(&sim, &body).await.unwrap().status().as_u16());
    }
    assert_eq!(seen, [500, 500, 200]);
    assert_eq!(sim.ledger().billed(), 3);
}

#[tokio::test]
async fn the_binary_survives_its_own_kill() {
    let scratch = Scratch::new("binary");
    let options = Options { duration_ms: 1, ..Options::default() };
    let mut sim = SimulatorProcess::start(options, &scratch.ledger());
    let url = sim.url().to_owned();
    let post = async |prompt: &str| {
        let answer = client().post(format!("{url}/v1/videos")).json(&json!({ "prompt": prompt })).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let id = post("before").await;
    sim.restart();
    assert_eq!(sim.url(), url);
    assert_eq!(get(format!("{url}/v1/videos/{id}")).await.1["prompt"], "before");
    let faults = json!({"next_creates": ["drop_after_accept"]});
    assert_eq!(client().put(format!("{url}/_sim/faults")).json(&faults).send().await.unwrap().status(), 204);
    client().post(format!("{url}/v1/videos")).json(&json!({"prompt": "lost"})).send().await.unwrap_err();
    let (_, ledger) = get(format!("{url}/_sim/ledger")).await;
    assert_eq!(ledger["by_prompt"], json!({"before": 1, "lost": 1}));
    assert_eq!(sim.ledger().billed(), 2);
    assert_eq!(get(format!("{url}/_sim/jobs")).await.1["jobs"].as_array().unwrap().len(), 2);
    let wrong = client().put(format!("{url}/_sim/faults")).json(&json!({"no_such_fault": 1}));
    assert_eq!(wrong.send().await.unwrap().status(), 400);
}
