//! What is sent for what clients order: tests, rotations, replays, redeliveries, filters and switches.

use std::collections::BTreeMap;

use longtake_core::store::NewJob;
use serde_json::{Value, json};

use super::receiver::{Received, Receiver};
use super::{deliveries, deliveries_once, endpoint, path_of, post, server};
use crate::app::{Server, code, tiny};
use crate::feed::hanging;

fn all_delivered(rows: &[Value]) -> bool {
    !rows.is_empty() && rows.iter().all(|row| row["state"] == "delivered")
}

/// Runs a small video to its end and waits until all of its events were delivered to the endpoint; they, oldest first.
async fn told(server: &Server, endpoint: &Value, prompt: &str) -> Vec<Value> {
    let video = server.create(&tiny(prompt)).await;
    server.finished(&video).await;
    let mut rows = deliveries_once(server, endpoint, "its last event is delivered", |rows| {
        let ours = |row: &Value| row["video"] == video["id"] && row["type"] == "video.completed";
        all_delivered(rows) && rows.iter().any(ours)
    })
    .await;
    rows.retain(|row| row["video"] == video["id"]);
    rows.reverse();
    rows
}

/// How often each event came.
fn times(received: &[Received]) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for request in received {
        *times.entry(request.id().to_owned()).or_default() += 1;
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_tells_what_came_of_it_and_nothing_else() {
    let (server, receiver) = (server().await, Receiver::start().await);
    let made = endpoint(&server, &json!({"url": receiver.url("/hook")})).await;
    post(&server, &path_of(&made), &json!({"status": "disabled"})).await;
    let test = format!("{}/test", path_of(&made));
    // With an empty body, as curl sends it.
    let tested: Value = server.post(&test).send().await.unwrap().json().await.unwrap();
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(true), &json!(200)), "{tested}");
    assert_eq!((&tested["status_code"], &tested["answer"]), (&json!(200), &json!("answered 200")));
    assert!(tested["duration_ms"].is_u64());
    let received = receiver.received();
    assert_eq!(received.len(), 1);
    let (only, secret) = (&received[0], made["secret"].as_str().unwrap());
    assert!(only.is_signed_with(secret) && !only.is_signed_with("whsec_AAAA") && only.signatures() == 1);
    assert_eq!(
        (only.path.as_str(), only.kind(), only.header("content-type")),
        ("/hook", "webhook.test", "application/json")
    );
    assert_eq!((&only.body["id"], &only.body["data"]["id"]), (&json!(only.id()), &made["id"]));

    receiver.answer(410);
    let tested = post(&server, &test, &json!({"event_type": "webhook.test"})).await;
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(false), &json!(410)), "{tested}");
    let shown = server.json(&path_of(&made)).await;
    assert_eq!(
        (&shown["status"], &shown["consecutive_failures"]),
        (&json!("disabled"), &json!(0)),
        "it changes nothing"
    );
    assert_eq!(deliveries(&server, &made).await, Vec::<Value>::new(), "and stands in no log");

    drop(receiver);
    let tested = post(&server, &test, &json!({})).await;
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(false), &Value::Null));
    assert!(!tested["answer"].as_str().unwrap().is_empty(), "{tested}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_signs_beside_the_old_one_for_a_while() {
    let (server, receiver) = (server().await, Receiver::start().await);
    let made = endpoint(&server, &json!({"url": receiver.url("/")})).await;
    let (test, rotate) = (format!("{}/test", path_of(&made)), format!("{}/rotate_secret", path_of(&made)));
    let first = made["secret"].as_str().unwrap().to_owned();
    assert_eq!(made["old_secrets_expire_at"], Value::Null);
    let rotated: Value = server.post(&rotate).send().await.unwrap().json().await.unwrap();
    let second = rotated["secret"].as_str().unwrap().to_owned();
    assert!(second.starts_with("whsec_") && second != first);
    let left = rotated["old_secrets_expire_at"].as_i64().unwrap() - made["created_at"].as_i64().unwrap();
    assert!((86_400..86_400 + 600).contains(&left), "a day where nothing is said: {left}");
    post(&server, &test, &json!({})).await;
    let both = receiver.received().pop().unwrap();
    assert!(both.signatures() == 2 && both.is_signed_with(&first) && both.is_signed_with(&second));
    assert!(both.header("webhook-signature").starts_with("v1,"));

    let rotated = post(&server, &rotate, &json!({"overlap_seconds": 0})).await;
    let third = rotated["secret"].as_str().unwrap();
    assert_eq!(rotated["old_secrets_expire_at"], Value::Null);
    post(&server, &test, &json!({})).await;
    let one = receiver.received().pop().unwrap();
    assert!(one.signatures() == 1 && one.is_signed_with(third) && !one.is_signed_with(&first));
    let shown = server.json(&path_of(&made)).await;
    assert!(!shown.to_string().contains("whsec_"), "{shown}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_shows_every_event_and_what_came_of_it() {
    let (server, receiver) = (server().await, Receiver::start().await);
    let made = endpoint(&server, &json!({"url": receiver.url("/")})).await;
    let rows = told(&server, &made, "logged").await;
    let secret = made["secret"].as_str().unwrap();
    let kinds: Vec<&str> = rows.iter().map(|row| row["type"].as_str().unwrap()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"video.queued"), Some(&"video.completed")), "{kinds:?}");
    for (place, row) in rows.iter().enumerate() {
        let video = row["video"].as_str().unwrap();
        assert_eq!(row["event"], format!("evt_{video}_{}", place + 1), "each event once, pages without a gap");
        assert_eq!((&row["object"], &row["tries"]), (&json!("webhook_delivery"), &json!(1)));
        assert_eq!(row["next_try_at"], Value::Null);
        let log = row["log"].as_array().unwrap();
        assert_eq!((log.len(), &log[0]["status"], &log[0]["answer"]), (1, &json!(200), &json!("answered 200")));
        assert!(log[0]["at"].is_i64() && log[0]["duration_ms"].is_u64());
    }
    // First tries come in order, each signed, each the event as the streams tell it.
    let received = receiver.received();
    let sequence: Vec<u64> = received.iter().map(|request| request.body["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequence, (1..=u64::try_from(rows.len()).unwrap()).collect::<Vec<_>>());
    for (request, row) in received.iter().zip(&rows) {
        assert_eq!((request.id(), request.kind()), (row["event"].as_str().unwrap(), row["type"].as_str().unwrap()));
        assert_eq!((&request.body["id"], &request.body["data"]["id"]), (&row["event"], &row["video"]));
        assert!(request.is_signed_with(secret));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_delivery_is_sent_again_under_the_same_id() {
    let (server, receiver) = (server().await, Receiver::start().await);
    let made = endpoint(&server, &json!({"url": receiver.url("/"), "events": ["video.completed"]})).await;
    let rows = told(&server, &made, "again").await;
    assert_eq!(rows.len(), 1, "only what it wants: {rows:?}");
    let again = format!("{}/deliveries/{}/redeliver", path_of(&made), rows[0]["id"].as_str().unwrap());
    let ordered: Value = server.post(&again).send().await.unwrap().json().await.unwrap();
    assert_eq!((&ordered["id"], &ordered["event"]), (&rows[0]["id"], &rows[0]["event"]));
    assert!(!ordered["log"].as_array().unwrap().is_empty(), "with its log: {ordered}");
    let received = receiver.until("it came twice", |received| received.len() == 2).await;
    assert_eq!(received[0].id(), received[1].id());
    assert_eq!(received[0].bytes, received[1].bytes);
    let rows = deliveries_once(&server, &made, "both tries are logged", |rows| rows[0]["tries"] == 2).await;
    assert_eq!((rows.len(), rows[0]["log"].as_array().unwrap().len()), (1, 2));

    // One of another endpoint is none of this one's.
    let other = endpoint(&server, &json!({"url": receiver.url("/other")})).await;
    let foreign = format!("{}/deliveries/{}/redeliver", path_of(&other), rows[0]["id"].as_str().unwrap());
    assert_eq!(code(server.post(&foreign)).await, (404, "webhook_delivery_not_found".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_behind_an_event_is_sent_again() {
    let (server, receiver) = (server().await, Receiver::start().await);
    let made = endpoint(&server, &json!({"url": receiver.url("/")})).await;
    let one = told(&server, &made, "one").await;
    let two = told(&server, &made, "two").await;
    let replay = format!("{}/replay", path_of(&made));
    // Behind the last event of the first video lies the whole second one.
    let replayed = post(&server, &replay, &json!({"after": one.last().unwrap()["event"]})).await;
    assert_eq!(replayed, json!({"object": "webhook_replay", "deliveries": two.len(), "more_after": null}));
    let wanted = one.len() + 2 * two.len();
    let received = receiver.until("they came again", |received| received.len() == wanted).await;
    let times = times(&received);
    assert!(one.iter().all(|row| times[row["event"].as_str().unwrap()] == 1));
    assert!(two.iter().all(|row| times[row["event"].as_str().unwrap()] == 2));
    let rows = deliveries_once(&server, &made, "and are logged", |rows| {
        all_delivered(rows) && rows.iter().filter(|row| row["tries"] == 2).count() == two.len()
    });
    assert_eq!(rows.await.len(), one.len() + two.len(), "no delivery was made twice");
    let nothing = post(&server, &replay, &json!({"after": two.last().unwrap()["event"]})).await;
    assert_eq!(nothing, json!({"object": "webhook_replay", "deliveries": 0, "more_after": null}));

    // An endpoint that was not there hears of everything it wants.
    let late = endpoint(&server, &json!({"url": receiver.url("/late"), "events": ["video.completed"]})).await;
    let replayed = post(&server, &format!("{}/replay", path_of(&late)), &json!({"after": one[0]["event"]})).await;
    assert_eq!(replayed["deliveries"], 2);
    let late_rows =
        deliveries_once(&server, &late, "both are delivered", |rows| rows.len() == 2 && all_delivered(rows));
    assert!(late_rows.await.iter().all(|row| row["type"] == "video.completed"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_replay_says_where_to_go_on() {
    // More events than one call looks at, of videos that wait.
    const VIDEOS: usize = 10_050;
    let receiver = Receiver::start().await;
    let server = Server::start_with(|config| {
        config.webhooks.allow_http = true;
        config.webhooks.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
        config.worker.max_owned = 1;
    })
    .await;
    let jobs: Vec<NewJob> = (0..VIDEOS).map(|_| hanging("waits")).collect();
    let first = format!("evt_{}_1", jobs[0].job);
    for some in jobs.chunks(1_000) {
        server.store().create(some.to_vec()).await.unwrap();
    }
    let made = endpoint(&server, &json!({"url": receiver.url("/"), "events": ["video.queued"]})).await;
    let (mut after, mut made_due, mut calls) = (json!(first), 0, 0);
    while !after.is_null() {
        let replayed = post(&server, &format!("{}/replay", path_of(&made)), &json!({"after": after})).await;
        let count = replayed["deliveries"].as_u64().unwrap();
        assert!(count <= 10_000, "one call is bounded: {replayed}");
        (after, made_due, calls) = (replayed["more_after"].clone(), made_due + count, calls + 1);
        assert!(calls <= 3, "it comes to an end");
    }
    assert!(calls > 1, "it took more than one call");
    assert!(made_due >= u64::try_from(VIDEOS).unwrap() - 1, "every video is among them: {made_due}");
    let newest = server.json(&format!("{}/deliveries?limit=100", path_of(&made))).await;
    assert_eq!((newest["data"].as_array().unwrap().len(), &newest["has_more"]), (100, &json!(true)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_off_hears_nothing_until_it_is_on_again() {
    let (server, receiver) = (server().await, Receiver::start().await);
    let made = endpoint(&server, &json!({"url": receiver.url("/"), "events": ["video.completed"]})).await;
    let before = told(&server, &made, "before").await;
    post(&server, &path_of(&made), &json!({"status": "disabled"})).await;
    let missed = server.create(&tiny("missed")).await;
    server.finished(&missed).await;
    let disabled = (409, "webhook_endpoint_disabled".to_owned());
    let after = json!({"after": before[0]["event"]});
    assert_eq!(code(server.post(&format!("{}/replay", path_of(&made))).json(&after)).await, disabled);
    let again = format!("{}/deliveries/{}/redeliver", path_of(&made), before[0]["id"].as_str().unwrap());
    assert_eq!(code(server.post(&again)).await, disabled);

    post(&server, &path_of(&made), &json!({"status": "enabled"})).await;
    told(&server, &made, "after").await;
    assert!(receiver.received().iter().all(|request| request.body["data"]["id"] != missed["id"]));
    let replayed = post(&server, &format!("{}/replay", path_of(&made)), &after).await;
    assert_eq!(replayed["deliveries"], 2, "what it missed, and what came after that");
    receiver.until("what it missed comes", |all| all.iter().any(|one| one.body["data"]["id"] == missed["id"])).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_answers_410_is_gone_until_its_client_says_otherwise() {
    let (server, receiver) = (server().await, Receiver::start().await);
    let made = endpoint(&server, &json!({"url": receiver.url("/")})).await;
    receiver.answer(410);
    let video = server.create(&tiny("nobody wants it")).await;
    server.finished(&video).await;
    let rows = deliveries_once(&server, &made, "nothing is sent any more", |rows| {
        !rows.is_empty() && rows.iter().all(|row| row["state"] == "disabled")
    });
    let rows = rows.await;
    assert!(rows.iter().any(|row| row["log"][0]["status"] == 410), "{rows:?}");
    assert_eq!(server.json(&path_of(&made)).await["status"], "gone");
    receiver.answer(200);
    let changed = post(&server, &path_of(&made), &json!({"status": "enabled"})).await;
    assert_eq!(changed["status"], "enabled");
    let first = rows.iter().find(|row| row["event"].as_str().unwrap().ends_with("_1")).unwrap();
    post(&server, &format!("{}/deliveries/{}/redeliver", path_of(&made), first["id"].as_str().unwrap()), &json!({}))
        .await;
    receiver.until("it is sent", |received| received.len() >= 2).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_receiver_is_shown_as_one() {
    let (server, receiver) = (server().await, Receiver::start().await);
    let made = endpoint(&server, &json!({"url": receiver.url("/"), "events": ["video.completed"]})).await;
    receiver.answer(503);
    let video = server.create(&tiny("refused at first")).await;
    server.finished(&video).await;
    let rows = deliveries_once(&server, &made, "one try failed", |rows| rows.iter().any(|row| row["tries"] == 1)).await;
    assert_eq!((&rows[0]["state"], &rows[0]["log"][0]["status"]), (&json!("pending"), &json!(503)));
    let (next, at) = (rows[0]["next_try_at"].as_i64().unwrap(), rows[0]["log"][0]["at"].as_i64().unwrap());
    assert!((4..=7).contains(&(next - at)), "the second try follows after five seconds: {rows:?}");
    assert_eq!(server.json(&path_of(&made)).await["consecutive_failures"], 1);
    receiver.answer(200);
    deliveries_once(&server, &made, "it is delivered", all_delivered).await;
    assert_eq!(server.json(&path_of(&made)).await["consecutive_failures"], 0);
    let ids = times(&receiver.received());
    assert_eq!(ids.into_values().collect::<Vec<_>>(), [2], "the same id on each try");
    server.stop().await;
}
