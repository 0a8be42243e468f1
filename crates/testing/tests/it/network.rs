//! The cutting proxy.

use longtake_testing::proxy::{Behaviour, Proxy};
use longtake_testing::sim::{Options, Simulator};
use longtake_testing::wait_until;
use serde_json::json;

use crate::{BOUND, client, create_one};

fn start() -> (Simulator, Proxy) {
    let sim = Simulator::start(Options { duration_ms: 0, ..Options::default() });
    let proxy = Proxy::start(sim.address());
    (sim, proxy)
}

async fn create(proxy: &Proxy) -> reqwest::Result<reqwest::Response> {
    client().post(format!("{}/v1/videos", proxy.url())).json(&json!({"prompt": "p"})).send().await
}

#[tokio::test]
async fn it_forwards_until_told_otherwise() {
    let (sim, proxy) = start();
    assert_eq!(create(&proxy).await.unwrap().status(), 200);
    assert_eq!(proxy.accepted(), 1);
    wait_until("the connection is closed with its client", BOUND, async || proxy.open() == 0).await;

    let other = Simulator::start(Options::default());
    proxy.set_target(other.address());
    create(&proxy).await.unwrap();
    assert_eq!((sim.ledger().billed(), other.ledger().billed()), (1, 1));
}

#[tokio::test]
async fn a_cut_on_the_way_back_leaves_a_billed_job() {
    let (sim, proxy) = start();
    proxy.set(Behaviour { cut_after_received: Some(0), ..Behaviour::default() });
    create(&proxy).await.unwrap_err();
    assert_eq!(sim.ledger().billed(), 1);
    proxy.set(Behaviour { cut_after_sent: Some(20), ..Behaviour::default() });
    create(&proxy).await.unwrap_err();
    assert_eq!(sim.ledger().billed(), 1, "half a request buys nothing");
    proxy.set(Behaviour::default());
    assert_eq!(create(&proxy).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_download_is_cut_in_the_middle() {
    let (sim, proxy) = start();
    let id = create_one(&sim, "p").await;
    proxy.set(Behaviour { cut_after_received: Some(10_000), ..Behaviour::default() });
    let answer = client().get(format!("{}/v1/videos/{id}/content", proxy.url())).send().await.unwrap();
    assert_eq!(answer.content_length(), Some(64 * 1024));
    answer.bytes().await.unwrap_err();
}

#[tokio::test]
async fn a_refusal_is_a_failed_connect_and_can_end() {
    let (sim, proxy) = start();
    proxy.set(Behaviour { refuse: true, ..Behaviour::default() });
    let refused = async || create(&proxy).await.is_err_and(|error| error.is_connect());
    wait_until("connects are refused", BOUND, refused).await;
    let billed = sim.ledger().billed();
    assert!(refused().await);
    assert_eq!(sim.ledger().billed(), billed);
    proxy.set(Behaviour::default());
    wait_until("the port is back", BOUND, async || create(&proxy).await.is_ok()).await;
}

#[tokio::test]
async fn resets_and_black_holes_end_with_a_cut() {
    let (sim, proxy) = start();
    proxy.set(Behaviour { reset: true, ..Behaviour::default() });
    create(&proxy).await.unwrap_err();
    proxy.set(Behaviour { black_hole: true, ..Behaviour::default() });
    let cut = async {
        wait_until("the black hole has it", BOUND, async || proxy.open() == 1).await;
        proxy.cut_all();
    };
    let (answer, ()) = tokio::join!(create(&proxy), cut);
    answer.unwrap_err();
    assert_eq!(sim.ledger().accepted(), 0);
}

#[tokio::test]
#[should_panic(expected = "in vain: never")]
async fn a_wait_in_vain_says_what_for() {
    wait_until("never", std::time::Duration::from_millis(20), async || false).await;
}
