//! Lists: pages, order, lag and gaps.

use longtake_testing::sim::{Faults, Options, Simulator};
use serde_json::Value;

use crate::{client, create_one, get};

async fn page(sim: &Simulator, query: &str) -> (Vec<String>, Value) {
    let (status, page) = get(format!("{}/v1/videos?{query}", sim.url())).await;
    assert_eq!(status, 200);
    let ids = page["data"].as_array().unwrap().iter().map(|video| video["id"].as_str().unwrap().to_owned());
    (ids.collect(), page)
}

#[tokio::test]
async fn pages_cover_everything_once_in_both_orders() {
    let sim = Simulator::start(Options { duration_ms: 0, ..Options::default() });
    let mut created = Vec::new();
    for n in 0..7 {
        created.push(create_one(&sim, &format!("p{n}")).await);
    }
    for (order, expected) in [("asc", created.clone()), ("desc", created.iter().rev().cloned().collect())] {
        let mut seen = Vec::new();
        let mut after = String::new();
        for turn in 1..=4 {
            let (ids, answer) = page(&sim, &format!("order={order}&limit=3{after}")).await;
            assert_eq!(answer["last_id"].as_str(), ids.last().map(String::as_str));
            seen.extend(ids);
            if answer["has_more"] == false {
                assert_eq!(turn, 3);
                break;
            }
            after = format!("&after={}", answer["last_id"].as_str().unwrap());
        }
        assert_eq!(seen, expected);
    }
    assert_eq!(page(&sim, "").await.0.len(), 7, "desc and 20 are the defaults");
    assert_eq!(get(format!("{}/v1/videos?limit=101", sim.url())).await.0, 400);
    assert_eq!(get(format!("{}/v1/videos?after=video_none", sim.url())).await.0, 400);
    client().delete(format!("{}/v1/videos/{}", sim.url(), created[3])).send().await.unwrap();
    assert_eq!(page(&sim, "").await.0.len(), 6);
}

#[tokio::test]
async fn prompts_are_shown_by_option() {
    let sim = Simulator::start(Options { list_prompt: Some(false), ..Options::default() });
    create_one(&sim, "secret").await;
    assert!(page(&sim, "").await.1["data"][0].get("prompt").is_none());
}

#[tokio::test]
async fn lag_and_gaps_leave_jobs_out() {
    let sim = Simulator::start(Options::default());
    for n in 0..20 {
        create_one(&sim, &format!("p{n}")).await;
    }
    sim.set_faults(Faults { list_lag_ms: 600_000, ..Faults::default() });
    assert!(page(&sim, "").await.0.is_empty());
    sim.set_faults(Faults { list_gap: 0.5, ..Faults::default() });
    let (first, second) = (page(&sim, "").await.0, page(&sim, "").await.0);
    assert!((1..20).contains(&first.len()));
    assert_ne!(first, second, "another list has other gaps");
    sim.set_faults(Faults { list_gap: 0.5, list_gap_sticky: true, ..Faults::default() });
    assert_eq!(page(&sim, "").await.0, page(&sim, "").await.0);
}
