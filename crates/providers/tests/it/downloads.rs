//! Results: where they may come from, and who gets to see the key.

use longtake_core::provider::{Output, Provider, ProviderError};

use crate::canned::{self, Canned};
use crate::support::*;

fn at(source: String) -> Output {
    Output { source: source.into(), media_type: "video/mp4".into() }
}

async fn fetch(provider: &dyn Provider, source: String) -> Result<Vec<u8>, ProviderError> {
    download(provider, &at(source)).await.map(|(bytes, _)| bytes)
}

fn redirect(to: &str) -> Vec<u8> {
    canned::answer(302, &[&format!("location: {to}")], "")
}

#[tokio::test]
async fn the_key_goes_to_its_own_origin_only() {
    let storage = Canned::start(|_| canned::answer(200, &[], "the video")).await;
    let to = format!("{}/bucket/v.mp4?signature=abc", storage.url());
    let server = Canned::start(move |asked| match asked.line() {
        "GET /v1/videos/far/content" => redirect(&to),
        "GET /v1/videos/near/content" => redirect("/files/near.mp4"),
        _ => canned::answer(200, &[], "the near video"),
    })
    .await;
    let provider = remote(account("openai_compatible", Some(&format!("{}/v1", server.url()))));
    assert_eq!(fetch(&*provider, "content:far".to_owned()).await.unwrap(), b"the video");
    assert_eq!(fetch(&*provider, "content:near".to_owned()).await.unwrap(), b"the near video");
    let key = format!("Bearer {KEY}");
    for asked in server.asked() {
        assert_eq!(asked.header("authorization"), Some(key.as_str()), "{}", asked.line());
    }
    assert_eq!(storage.asked().len(), 1);
    assert_eq!(storage.asked()[0].header("authorization"), None);
    assert!(!storage.asked()[0].head.contains(KEY));
}

#[tokio::test]
async fn redirects_are_few_and_lead_to_allowed_addresses_only() {
    let server = Canned::start(|asked| match asked.line() {
        "GET /loop" => redirect("/loop"),
        "GET /private" => redirect("http://10.0.0.1/v.mp4"),
        "GET /metadata" => redirect("http://169.254.169.254/latest/meta-data"),
        "GET /mapped" => redirect("http://[::ffff:169.254.169.254]/"),
        "GET /file" => redirect("file:///etc/passwd"),
        "GET /user" => redirect("http://user:password@127.0.0.1:9/"),
        _ => canned::answer(200, &[], "never"),
    })
    .await;
    let provider = remote(account("openai_compatible", Some(&format!("{}/v1", server.url()))));
    for path in ["loop", "private", "metadata", "mapped", "file", "user"] {
        let answer = fetch(&*provider, format!("{}/{path}", server.url())).await;
        assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{path}: {answer:?}");
    }
    let loops = server.asked().iter().filter(|asked| asked.line() == "GET /loop").count();
    assert_eq!(loops, 6);
}

#[tokio::test]
async fn a_public_accounts_results_come_from_public_addresses_only() {
    let inside = Canned::start(|_| canned::answer(200, &[], "a secret of our network")).await;
    // A public address, which nothing here connects to.
    let provider = remote(account("minimax", Some("http://8.8.8.8")));
    let port = inside.address.port();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"] {
        let answer = fetch(&*provider, format!("http://{host}:{port}/v.mp4")).await;
        assert!(answer.is_err(), "{host}: {answer:?}");
    }
    assert!(inside.asked().is_empty());
    // The same names are fine for an account that is on this machine itself.
    let near = remote(account("minimax", Some("http://127.0.0.1:9")));
    assert_eq!(fetch(&*near, format!("http://localhost:{port}/v.mp4")).await.unwrap(), b"a secret of our network");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let server = Canned::start(|_| {
        let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"id\":\"".to_vec();
        endless.resize(9 * 1024 * 1024, b'x');
        endless
    })
    .await;
    let provider = remote(account("openai_compatible", Some(&format!("{}/v1", server.url()))));
    let answer = provider.submit(&call(), &submission("sora-2", request("a paper boat", 4))).await;
    assert!(matches!(answer, Err(ProviderError::Unknown { .. })), "{answer:?}");
}
