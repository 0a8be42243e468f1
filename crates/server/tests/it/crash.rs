//! L3: `kill -9` of the real binary at every named point of the crash matrix and at random.
//!
//! The simulator lives in the test's process, so it outlives the gateway; its ledger says what was paid.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longtake_testing::sim::{CreateFault, Faults, Options, Simulator};
use longtake_testing::wait_until;
use reqwest::Method;
use serde_json::json;

use crate::process::{Gateway, Home};

/// Longest time for a handful of videos to come to rest.
const REST_BOUND: Duration = Duration::from_secs(60);
/// Longest time for all videos of the random kills.
const MANY_BOUND: Duration = Duration::from_secs(400);

/// What a provider offers for finding out about a lost submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing: what is in doubt is held for a person.
    None,
    /// A list that shows prompts.
    Lookup,
    /// It honours idempotency keys.
    Idempotent,
}

impl Class {
    fn simulator(self, duration_ms: u32, faults: Faults) -> Simulator {
        Simulator::start(Options {
            duration_ms,
            idempotency_key: self == Self::Idempotent,
            faults,
            ..Options::default()
        })
    }

    fn config(self, simulator: &Simulator) -> String {
        let (lookup, idempotency) = match self {
            Self::None => ("none", "none"),
            Self::Lookup => ("list_by_prompt", "none"),
            Self::Idempotent => ("none", "key"),
        };
        format!(
            r#"
[accounts.sim]
provider = "openai_compatible"
api_key = "test"
base_url = "{}/v1"
poll_first_ms = 100
poll_ceiling_ms = 300
lookup = "{lookup}"
idempotency = "{idempotency}"
absence_settle_ms = 300
verify_deadline_ms = 2500
[models.sim]
routes = [{{ account = "sim", model = "wan" }}]
"#,
            simulator.url()
        )
    }
}

/// Every point at which the binary can be told to abort (docs/durability.md).
const POINTS: [&str; 12] = ["C1", "C2", "C3", "C4.before", "C4.after", "C5", "C7", "C8", "C11", "C12", "C13", "C14"];

async fn every_crash_point(class: Class) {
    for point in POINTS {
        let simulator = class.simulator(300, Faults::default());
        let home = Home::new(&format!("crash-{class:?}-{point}"), &class.config(&simulator));
        if let Some(mut gateway) = home.start(&[("LONGTAKE_FAILPOINT", point)]).await {
            for n in 0..3 {
                let _ = gateway.create(&format!("key-{n}"), &format!("{point} number {n}")).await;
            }
            assert!(!gateway.wait_for_death().await.success(), "{point} was never hit");
        }
        let gateway = home.start(&[]).await.unwrap();
        let mut ids = Vec::new();
        for n in 0..3 {
            ids.push(gateway.create(&format!("key-{n}"), &format!("{point} number {n}")).await.unwrap());
        }
        let held = come_to_rest(&gateway, &ids).await;
        assert!(class == Class::None || held.is_empty(), "{point}: {held:?} held although {class:?} can find out");
        resolve_by_hand(&gateway, &simulator, &held).await;
        check(&gateway, &simulator, &ids, point).await;
        gateway.kill();
    }
}

/// Waits until each video is finished or held; the held ones, with their prompts.
async fn come_to_rest(gateway: &Gateway, ids: &[String]) -> Vec<(String, String)> {
    let mut held = Vec::new();
    for id in ids {
        wait_until(&format!("{id} comes to rest"), REST_BOUND, async || {
            matches!(gateway.state(id).await.as_deref(), Some("completed" | "failed" | "canceled" | "held"))
        })
        .await;
        let video = gateway.get(&format!("/v1/videos/{id}")).await.unwrap();
        if video["state"] == "held" {
            held.push((id.clone(), video["prompt"].as_str().unwrap().to_owned()));
        }
    }
    held
}

/// Does what a person does: looks into the provider's books, adopts what is there and resubmits what is not.
async fn resolve_by_hand(gateway: &Gateway, simulator: &Simulator, held: &[(String, String)]) {
    for (id, prompt) in held {
        let found = simulator.ledger().jobs().into_iter().find(|entry| entry.prompt == *prompt);
        let decision = match found {
            Some(entry) => json!({"decision": "adopt", "provider_job_id": entry.provider_job}),
            None => json!({"decision": "resubmit"}),
        };
        let (status, answer) = gateway.post(&format!("/v1/videos/{id}/resolve"), decision).await.unwrap();
        assert_eq!(status, 200, "{answer}");
    }
    for (id, _) in held {
        wait_until("a resolved video completes", REST_BOUND, async || {
            gateway.state(id).await.as_deref() == Some("completed")
        })
        .await;
    }
}

/// Lost 0, billed twice 0, events dense with one end, the bytes playable and as recorded.
async fn check(gateway: &Gateway, simulator: &Simulator, ids: &[String], what: &str) {
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{what}: two creates, one video");
    assert_eq!(simulator.ledger().bought_twice(), BTreeMap::new(), "{what}: billed twice");
    for id in ids {
        let video = gateway.get(&format!("/v1/videos/{id}")).await.unwrap();
        assert_eq!(video["state"], "completed", "{what}: {video}");
        let timeline = gateway.get(&format!("/v1/videos/{id}/timeline")).await.unwrap();
        let events = timeline["events"].as_array().unwrap();
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event["sequence"], n + 1, "{what}: {timeline}");
        }
        let ends = events.iter().filter(|event| event["type"] == "video.completed").count();
        assert_eq!(ends, 1, "{what}: {timeline}");
        let bytes = gateway.content(id).await;
        assert_eq!(bytes.len() as u64, video["bytes"].as_u64().unwrap(), "{what}");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(video["sha256"], hex, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_heals_where_nothing_can_be_looked_up() {
    every_crash_point(Class::None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_heals_by_lookup() {
    every_crash_point(Class::Lookup).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_crash_point_heals_by_idempotency_key() {
    every_crash_point(Class::Idempotent).await;
}

/// C6: the request is at the provider, its answer is not read yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_the_provider_answers_never_buys_twice() {
    for class in [Class::None, Class::Lookup, Class::Idempotent] {
        let faults = Faults { answer_delay_ms: 20_000, ..Faults::default() };
        let simulator = class.simulator(300, faults);
        let home = Home::new(&format!("crash-c6-{class:?}"), &class.config(&simulator));
        let gateway = home.start(&[]).await.unwrap();
        let id = gateway.create("key", "C6").await.unwrap();
        wait_until("the provider accepted", REST_BOUND, async || simulator.ledger().accepted() == 1).await;
        gateway.kill();
        simulator.set_faults(Faults::default());
        let gateway = home.start(&[]).await.unwrap();
        let held = come_to_rest(&gateway, std::slice::from_ref(&id)).await;
        assert_eq!(held.len(), usize::from(class == Class::None), "{class:?}");
        resolve_by_hand(&gateway, &simulator, &held).await;
        check(&gateway, &simulator, &[id], "C6").await;
        gateway.kill();
    }
}

/// C19: SIGTERM hands over at once and waits for no render; the next start goes on with the same provider job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_waits_for_no_render_and_the_next_start_goes_on() {
    let simulator = Class::None.simulator(600_000, Faults::default());
    let home = Home::new("crash-sigterm", &Class::None.config(&simulator));
    let gateway = home.start(&[]).await.unwrap();
    let id = gateway.create("key", "long [sim duration_ms=600000]").await.unwrap();
    wait_until("it runs", REST_BOUND, async || gateway.state(&id).await.as_deref() == Some("running")).await;
    let before = gateway.get(&format!("/v1/videos/{id}/timeline")).await.unwrap();
    assert!(gateway.terminate().await.success());
    let gateway = home.start(&[]).await.unwrap();
    let polls = simulator.requests();
    wait_until("it is polled again", REST_BOUND, async || simulator.requests() > polls).await;
    let after = gateway.get(&format!("/v1/videos/{id}/timeline")).await.unwrap();
    assert_eq!(before["events"], after["events"], "a restart is no event");
    assert_eq!(simulator.ledger().accepted(), 1);
    gateway.kill();
}

/// 500 videos pass while the process is killed 20 times.
async fn random_kills(name: &str, class: Class, faults: Faults, seed: u64) {
    const VIDEOS: usize = 500;
    const KILLS: u64 = 20;
    let simulator = class.simulator(700, faults);
    let home = Home::new(name, &class.config(&simulator));
    let mut random = seed;
    let mut draw = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut ids: Vec<Option<String>> = vec![None; VIDEOS];
    let mut created = 0;
    for round in 0..=KILLS {
        let seen = simulator.requests();
        let gateway = home.start(&[]).await.unwrap();
        let last = round == KILLS;
        let goal = if last { VIDEOS } else { VIDEOS * (round as usize + 1) / (KILLS as usize + 1) };
        // Everything not yet acknowledged is created again under its key; then a few new ones.
        for (n, id) in ids.iter_mut().enumerate().take(goal.max(created)) {
            if id.is_none() {
                *id = gateway.create(&format!("key-{n}"), &format!("random kill number {n}")).await;
            }
        }
        created = goal.max(created);
        if !last {
            // The moment of the kill is a number of requests the provider saw in this round, so it falls anywhere in
            // a job's life. The new videos of a round alone make more than that.
            let until = seen + 1 + draw(90);
            wait_until("the provider was asked often enough", REST_BOUND, async || simulator.requests() >= until).await;
            gateway.kill();
            continue;
        }
        let ids: Vec<String> = ids.iter().flatten().cloned().collect();
        assert_eq!(ids.len(), VIDEOS);
        wait_until("every video comes to rest", MANY_BOUND, async || {
            let mut unfinished = 0;
            for status in ["queued", "in_progress"] {
                let page = gateway.get(&format!("/v1/videos?limit=100&status={status}")).await.unwrap();
                let live = page["data"].as_array().unwrap();
                unfinished += live.iter().filter(|video| video["state"] != "held").count();
            }
            unfinished == 0
        })
        .await;
        let held = come_to_rest(&gateway, &ids).await;
        println!(
            "{name}: {} videos, {KILLS} kills, {} held, {} billed",
            ids.len(),
            held.len(),
            simulator.ledger().accepted()
        );
        assert!(class == Class::None || held.is_empty(), "{held:?}");
        resolve_by_hand(&gateway, &simulator, &held).await;
        check(&gateway, &simulator, &ids, name).await;
        assert_eq!(simulator.ledger().accepted(), VIDEOS, "every purchase is a video's");
        gateway.kill();
        return;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_random_kills_lose_nothing_and_pay_nothing_twice() {
    random_kills("kills-lookup", Class::Lookup, Faults::default(), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_random_kills_with_lost_answers_lose_nothing_and_pay_nothing_twice() {
    let faults = Faults { seed: 7, drop_after_accept: 0.05, error_after_accept: 0.05, ..Faults::default() };
    random_kills("kills-lost-answers", Class::Lookup, faults, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_random_kills_where_nothing_can_be_looked_up_hold_what_is_in_doubt() {
    random_kills("kills-none", Class::None, Faults::default(), 3).await;
}

/// A definite refusal after a restart is still a refusal: nothing is sent again for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_fails_the_video_and_is_not_repeated() {
    let simulator = Class::None.simulator(300, Faults::script([CreateFault::Reject]));
    let home = Home::new("crash-refusal", &Class::None.config(&simulator));
    let gateway = home.start(&[]).await.unwrap();
    let id = gateway.create("key", "refuse me").await.unwrap();
    wait_until("it fails", REST_BOUND, async || gateway.state(&id).await.as_deref() == Some("failed")).await;
    let (status, _) = gateway.call(Method::GET, &format!("/v1/videos/{id}/content"), None, &[]).await.unwrap();
    assert_eq!(status, 409);
    assert_eq!(simulator.ledger().accepted(), 0);
    gateway.kill();
}
