//! What requests cost, and remixes: what is sent, and what may be taken for one that was lost.

use longtake_core::id::{AccountId, JobId, ProviderJobId};
use longtake_core::provider::{Price, PriceSource, Provider, ProviderError, RemixSupport, SubmitRequest};
use longtake_core::request::{Size, Source, SourceKind, VideoRequest};
use longtake_providers::registry::{AccountConfig, ModelLimits};
use serde_json::json;

use crate::canned::{self, Canned};
use crate::support::*;

const ACCOUNT: AccountId = AccountId(1);

fn sized(seconds: u32, width: u32, height: u32) -> VideoRequest {
    VideoRequest { size: Size { width, height }, ..request("a boat", seconds) }
}

fn priced(mut account: AccountConfig, model: &str, usd_micros: u64) -> AccountConfig {
    let limits = ModelLimits { price_usd_micros_per_second: Some(usd_micros), ..ModelLimits::default() };
    account.model_limits.insert(model.to_owned(), limits);
    account
}

fn told(provider: &dyn Provider, model: &str, request: &VideoRequest) -> Option<(u64, PriceSource)> {
    provider.price(ACCOUNT, model, request).map(|Price { usd_micros, source }| (usd_micros, source))
}

#[test]
fn the_catalogue_prices_by_class_and_length() {
    let provider = remote(account("minimax", Some("http://127.0.0.1:9")));
    let catalogue = |model: &str, request: VideoRequest| told(&*provider, model, &request);
    let cost = |usd_micros| Some((usd_micros, PriceSource::Catalogue));
    assert_eq!(catalogue("MiniMax-H3", sized(4, 1280, 720)), cost(320_000));
    assert_eq!(catalogue("MiniMax-H3", sized(15, 2560, 1440)), cost(1_950_000));
    assert_eq!(catalogue("MiniMax-H3-Max", sized(5, 854, 480)), cost(250_000));
    for (seconds, width, height, usd_micros) in
        [(6, 1280, 720, 280_000), (10, 1280, 720, 560_000), (6, 1920, 1080, 490_000)]
    {
        for model in ["MiniMax-Hailuo-2.3", "MiniMax-Hailuo-02"] {
            assert_eq!(catalogue(model, sized(seconds, width, height)), cost(usd_micros), "{model}");
        }
    }
    let named = VideoRequest { provider_options: Some(r#"{"resolution":"2K"}"#.into()), ..sized(4, 1280, 720) };
    assert_eq!(catalogue("MiniMax-H3", named), cost(520_000), "the option names the class, not the size");
    let pictured = with_image(submission("MiniMax-Hailuo-02", sized(6, 912, 512))).request;
    assert_eq!(told(&*provider, "MiniMax-Hailuo-02", &pictured), cost(100_000));
    for (model, request) in [
        ("T2V-01", sized(6, 1280, 720)),
        ("MiniMax-H9", sized(6, 1280, 720)),
        ("MiniMax-Hailuo-2.3", sized(10, 1920, 1080)),
        ("MiniMax-H3", sized(4, 64, 64)),
    ] {
        assert_eq!(catalogue(model, request), None, "{model}");
    }
}

#[test]
fn the_operators_price_counts_before_the_catalogues() {
    let folder = Folder::new();
    for (name, url, model) in [
        ("minimax", Some("http://127.0.0.1:9"), "MiniMax-H3"),
        ("openai_compatible", Some("http://127.0.0.1:9/v1"), "wan"),
        ("sandbox", None, "sandbox"),
    ] {
        let provider = provider(priced(account(name, url), model, 70_001), folder.0.clone());
        let wanted = sized(6, 2560, 1440);
        assert_eq!(told(&*provider, model, &wanted), Some((420_006, PriceSource::Config)), "{name}");
        let shown = provider.capabilities(ACCOUNT, model).unwrap().price_usd_micros_per_second;
        assert_eq!(shown, Some(70_001), "{name}");
        assert_eq!(told(&*provider, "another", &wanted), None, "{name}");
    }
    let free = provider(account("sandbox", None), folder.0.clone());
    assert_eq!(told(&*free, "sandbox", &sized(60, 1280, 720)), Some((0, PriceSource::Catalogue)));
}

fn remix(provider_job: Option<&str>) -> SubmitRequest {
    let source = Source {
        video: JobId::from_bytes([1; 16]),
        kind: SourceKind::Remix,
        account: ACCOUNT,
        provider_job: provider_job.and_then(ProviderJobId::new),
    };
    submission("wan", VideoRequest { source: Some(source), ..request("a boat at night", 4) })
}

fn server(canned: &Canned, remix: bool) -> std::sync::Arc<dyn Provider> {
    let mut account = account("openai_compatible", Some(&format!("{}/v1", canned.url())));
    account.options.insert("remix".to_owned(), json!(remix));
    remote(account)
}

#[tokio::test]
async fn a_remix_names_its_source_in_the_address_and_says_nothing_but_the_prompt() {
    let canned =
        Canned::start(|_| canned::answer(200, &[], json!({"id": "video_new", "object": "video"}).to_string())).await;
    let provider = server(&canned, true);
    assert_eq!(provider.capabilities(ACCOUNT, "wan").unwrap().remix, RemixSupport::ByJob);
    let submission = remix(Some("video/of theirs"));
    let accepted = provider.submit(&call(), &submission).await.unwrap();
    assert_eq!(accepted.as_str(), "video_new");
    let asked = canned.asked();
    assert_eq!(asked.len(), 1, "once");
    assert_eq!(asked[0].line(), "POST /v1/videos/video%2Fof%20theirs/remix");
    assert_eq!(asked[0].header("idempotency-key"), Some(submission.client_ref.as_str()));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&asked[0].body).unwrap(),
        json!({"prompt": "a boat at night"})
    );
}

#[tokio::test]
async fn a_remix_that_cannot_be_asked_for_is_not_sent() {
    let canned = Canned::start(|_| canned::answer(200, &[], "{}")).await;
    for (provider, submission) in
        [(server(&canned, false), remix(Some("video_1"))), (server(&canned, true), remix(None))]
    {
        let answer = provider.submit(&call(), &submission).await;
        assert!(matches!(answer, Err(ProviderError::Rejected(_))), "{answer:?}");
    }
    assert_eq!(canned.asked().len(), 0);
    assert_eq!(server(&canned, false).capabilities(ACCOUNT, "wan").unwrap().remix, RemixSupport::No);
}
