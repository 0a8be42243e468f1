//! Random kills of everything, for as long as one has time: `cargo xtask chaos --minutes N`.
//!
//! `plan` draws what is done from a seed; `installation` does it; clients create videos through the API nodes all the
//! while. Then everything is healed, comes to rest and is audited; `scorecard` says what came of it.
//! Settings come from variables `LONGTAKE_TEST_CHAOS_*`, so that a minute of it is a test like any other.

pub mod plan;
mod scorecard;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fleet::audit::{self, Acknowledged, Audit, Observer};
use crate::fleet::feed::FeedReader;
use crate::fleet::installation::{HEAL_BOUND, Installation};
use crate::fleet::until;
use scorecard::{Scorecard, most_in_flight, recoveries};

/// Clients at once, and the pause of each between two videos.
const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(600);
/// Between two looks at what there is to do.
const TICK: Duration = Duration::from_millis(50);
/// Provider jobs at once, over all workers.
const MAX_IN_FLIGHT: u32 = 30;
/// Share of the vendor's answers that are lost or an error.
const LIES: f64 = 0.02;
/// Longest time until everything has come to rest, once nothing goes wrong any more.
const REST_BOUND: Duration = Duration::from_secs(180);
/// Rounds of a person who looks after what is held.
const MAX_ROUNDS: usize = 4;

/// What was asked for.
struct Asked {
    length: Duration,
    workers: usize,
    api: usize,
    videos: usize,
    seed: u64,
    scorecard: PathBuf,
}

impl Asked {
    fn read() -> Self {
        let number = |name: &str, default: u64| {
            let text = std::env::var(format!("LONGTAKE_TEST_CHAOS_{name}")).ok();
            text.map_or(default, |text| text.parse().expect("a number"))
        };
        let size = |name, default| usize::try_from(number(name, default)).unwrap();
        let file = std::env::var_os("LONGTAKE_TEST_CHAOS_SCORECARD").map(PathBuf::from);
        let default = || Path::new(env!("CARGO_TARGET_TMPDIR")).join("../chaos/scorecard.json");
        Self {
            length: Duration::from_secs(number("SECONDS", 45)),
            workers: size("WORKERS", 3),
            api: size("API", 2),
            videos: size("VIDEOS", u64::from(u32::MAX)),
            seed: number("SEED", 1),
            scorecard: file.unwrap_or_else(default),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_kills_of_everything_lose_nothing_and_pay_nothing_twice() {
    let asked = Asked::read();
    let card = run(&asked).await.unwrap();
    card.write(&asked.scorecard).unwrap();
    println!("{}", card.table());
    println!("written to {}", asked.scorecard.display());
    assert!(card.violations.is_empty(), "{:#?}", card.violations);
    assert!(card.max_in_flight_seen <= MAX_IN_FLIGHT as usize, "the account's limit was exceeded");
    assert!(card.kills.values().sum::<usize>() > 0 && card.jobs > 0, "nothing happened");
}

async fn run(asked: &Asked) -> Result<Scorecard, String> {
    let started = Instant::now();
    let mut installation = Installation::start("chaos", asked.workers, asked.api, MAX_IN_FLIGHT, LIES).await?;
    let feed = FeedReader::start(&installation.client).await;
    let observer = Observer::start(&installation.db);
    let acknowledged = Arc::<Mutex<BTreeMap<String, String>>>::default();
    let (stop, mut clients) = (Arc::<AtomicUsize>::default(), JoinSet::new());
    for n in 0..CLIENTS.min(asked.videos.max(1)) {
        let (client, told, stop) = (installation.client.clone(), Arc::clone(&acknowledged), Arc::clone(&stop));
        let most = asked.videos / CLIENTS + usize::from(n < asked.videos % CLIENTS);
        clients.spawn(async move {
            let mut pause = tokio::time::interval(PAUSE);
            for video in 0..most {
                pause.tick().await;
                if stop.load(Ordering::SeqCst) > 0 {
                    break;
                }
                let key = format!("client-{n}-{video}");
                let id = client.create(&key, &prompt(&key)).await?;
                told.lock().unwrap().insert(key, id);
            }
            Ok::<(), String>(())
        });
    }
    let kills = perform(asked, &mut installation).await?;
    stop.store(1, Ordering::SeqCst);
    until!("every node is back", HEAL_BOUND, {
        installation.heal(true).await?;
        installation.is_whole()
    })
    .await?;
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|error| error.to_string())??;
    }
    let ids = acknowledged.lock().unwrap().clone();
    let acknowledged = Acknowledged { ids, ..Acknowledged::default() };
    let mut card = Scorecard {
        seed: asked.seed,
        workers: asked.workers,
        api: asked.api,
        jobs: acknowledged.ids.len(),
        kills,
        max_in_flight_limit: MAX_IN_FLIGHT,
        process_starts: installation.starts(),
        ..Scorecard::default()
    };
    come_to_rest(&installation, &acknowledged, &mut card).await?;
    score(&installation, &acknowledged, &feed, &observer, &mut card).await?;
    card.seconds = started.elapsed().as_secs_f64();
    if card.violations.is_empty() {
        let dir = installation.dir.clone();
        drop(installation);
        let _gone = std::fs::remove_dir_all(dir);
    }
    Ok(card)
}

fn prompt(key: &str) -> String {
    format!("a storm at sea, {key}")
}

/// Carries out the plan; how often each kind was done.
async fn perform(asked: &Asked, installation: &mut Installation) -> Result<BTreeMap<&'static str, usize>, String> {
    let started = Instant::now();
    let mut plan = plan::plan(asked.seed, asked.length, asked.workers, asked.api).into_iter().peekable();
    let mut kills: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    println!("chaos: seed {}, {:?}, {} workers, {} api nodes", asked.seed, asked.length, asked.workers, asked.api);
    while started.elapsed() < asked.length {
        tick.tick().await;
        installation.heal(false).await?;
        let Some(action) = plan.next_if(|action| started.elapsed() >= action.at) else { continue };
        let done = installation.act(&action).await?;
        let (at, kind, target, lasts) = (action.at.as_secs_f64(), action.kind.word(), action.target, action.lasts);
        println!("{at:7.2} {kind} {target} for {lasts:?}{}", if done { "" } else { ": passed over" });
        if done {
            *kills.entry(kind).or_insert(0) += 1;
        }
    }
    Ok(kills)
}

/// Waits, and does what a person does with what is held.
async fn come_to_rest(
    installation: &Installation,
    acknowledged: &Acknowledged,
    card: &mut Scorecard,
) -> Result<(), String> {
    for round in 0..MAX_ROUNDS {
        if let Err(problem) = audit::rest(&installation.db, true, true, REST_BOUND).await {
            card.violations.push(problem);
            return Ok(());
        }
        let rows = installation.db.rows("select id from job where state = 27").await?;
        let held: Vec<String> = rows.iter().filter_map(|row| row[0].as_deref().map(audit::public_id)).collect();
        if round == 0 {
            card.held = held.len();
        }
        if held.is_empty() {
            return Ok(());
        }
        let books = installation.vendor.ledger().jobs();
        for id in held {
            let key = acknowledged.ids.iter().find(|(_, other)| **other == id).map(|(key, _)| prompt(key));
            let decision = match books.iter().find(|entry| Some(&entry.prompt) == key.as_ref()) {
                Some(entry) => json!({"decision": "adopt", "provider_job_id": entry.provider_job}),
                None => json!({"decision": "resubmit"}),
            };
            // Where news came first, there is nothing to decide.
            let _answer = installation.client.post(&format!("/v1/videos/{id}/resolve"), &decision).await;
        }
    }
    Ok(())
}

async fn score(
    installation: &Installation,
    acknowledged: &Acknowledged,
    feed: &FeedReader,
    observer: &Observer,
    card: &mut Scorecard,
) -> Result<(), String> {
    let ledger = installation.vendor.ledger();
    card.max_in_flight_seen = most_in_flight(&ledger);
    card.purchases = ledger.accepted();
    let rows = installation.db.rows("select job, ver, at from event").await?;
    card.events = i64::try_from(rows.len()).unwrap_or(0);
    let number = |cell: &Option<String>| cell.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
    let events: BTreeMap<(String, i64), i64> =
        (rows.iter()).map(|row| ((row[0].clone().unwrap_or_default(), number(&row[1])), number(&row[2]))).collect();
    card.recovery_ms = recoveries(&installation.owned, &events);
    let audit = Audit {
        db: &installation.db,
        ledger,
        artifacts: &installation.settings.artifacts,
        acknowledged,
        feed: Some(feed),
        observer,
        finds_out: true,
    };
    let findings = audit.run().await?;
    (card.lost, card.billed_twice, card.forgotten) = (findings.lost, findings.billed_twice, findings.forgotten);
    card.violations.extend(findings.violations);
    let failed = installation.db.rows("select id, state, code, message from job where state <> 90").await?;
    if !failed.is_empty() {
        card.violations.push(format!("not completed: {failed:?}"));
    }
    Ok(())
}
