//! Result bytes and what can be wrong with them.

use longtake_testing::sim::{Faults, Options, Simulator};

use crate::{client, create_one};

async fn done(options: Options) -> (Simulator, String) {
    let sim = Simulator::start(Options { duration_ms: 0, ..options });
    let id = create_one(&sim, "p").await;
    let url = format!("{}/v1/videos/{id}/content", sim.url());
    (sim, url)
}

#[tokio::test]
async fn a_result_is_a_film_of_the_wanted_size() {
    let (sim, url) = done(Options::default()).await;
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!(answer.content_length(), Some(64 * 1024));
    let bytes = answer.bytes().await.unwrap();
    assert_eq!(bytes.len(), 64 * 1024);
    let info = longtake_media::probe(&&bytes[..]).unwrap();
    assert_eq!((info.width, info.height), (64, 64));
    let other = create_one(&sim, "p").await;
    let other = client().get(format!("{}/v1/videos/{other}/content", sim.url())).send().await.unwrap();
    assert_ne!(bytes, other.bytes().await.unwrap(), "no two jobs have the same bytes");
    for (variant, kind) in [("thumbnail", "image/webp"), ("spritesheet", "image/jpeg")] {
        let answer = client().get(format!("{url}?variant={variant}")).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], kind);
    }
}

#[tokio::test]
async fn ranges_are_parts_of_the_whole() {
    let (_sim, url) = done(Options { result_bytes: 300_000, ..Options::default() }).await;
    let whole = client().get(&url).send().await.unwrap().bytes().await.unwrap();
    for (range, from, to) in [("0-99", 0, 100), ("1000-", 1000, 300_000), ("-70000", 230_000, 300_000)] {
        let answer = client().get(&url).header("range", format!("bytes={range}")).send().await.unwrap();
        assert_eq!(answer.status(), 206);
        assert_eq!(answer.headers()["content-range"], format!("bytes {from}-{}/300000", to - 1));
        assert_eq!(answer.bytes().await.unwrap(), whole.slice(from..to));
    }
    let past = client().get(&url).header("range", "bytes=300000-").send().await.unwrap();
    assert_eq!(past.status(), 416);
}

#[tokio::test]
async fn a_huge_result_is_announced_and_streamed() {
    let huge = 6 * 1024 * 1024 * 1024;
    let (_sim, url) = done(Options { result_bytes: huge, ..Options::default() }).await;
    let mut answer = client().get(&url).send().await.unwrap();
    assert_eq!(answer.content_length(), Some(huge));
    assert!(answer.chunk().await.unwrap().is_some());
    let end = client().get(&url).header("range", "bytes=-10").send().await.unwrap();
    assert_eq!(end.bytes().await.unwrap().len(), 10);
}

#[tokio::test]
async fn results_misbehave_as_ordered() {
    let (sim, url) = done(Options { result_url_ttl_ms: Some(0), ..Options::default() }).await;
    sim.set_faults(Faults { result_truncated: 1.0, ..Faults::default() });
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!(answer.content_length(), Some(64 * 1024));
    answer.bytes().await.unwrap_err();
    sim.set_faults(Faults { result_html: 1.0, ..Faults::default() });
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].as_bytes()), (200, &b"text/html"[..]));
    sim.set_faults(Faults { result_error: 1.0, ..Faults::default() });
    assert_eq!(client().get(&url).send().await.unwrap().status(), 500);
    sim.set_faults(Faults { result_stale_fetches: 4, result_stale_status: 404, ..Faults::default() });
    assert_eq!(client().get(&url).send().await.unwrap().status(), 404, "the fourth fetch");
    assert_eq!(client().get(&url).send().await.unwrap().status(), 200, "the fifth fetch");
    sim.set_faults(Faults { result_bytes_per_second: Some(64 * 1024 * 20), ..Faults::default() });
    let started = std::time::Duration::from_millis(40);
    let slow = tokio::time::timeout(started, async { client().get(&url).send().await.unwrap().bytes().await });
    assert!(slow.await.is_err(), "64 KiB at 20 times that per second need 50 ms");
    let id = sim.ledger().jobs()[0].provider_job.clone();
    let stale = client().get(format!("{}/results/{id}.mp4?at=1", sim.url())).send().await.unwrap();
    assert_eq!(stale.status(), 403);
}
