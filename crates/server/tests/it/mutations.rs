//! Replays good requests with random damage: whatever comes, the server answers, and never with a 5xx.

use serde_json::Value;

use crate::app::{Server, tiny};
use crate::hostile::{parse, raw};

/// Damaged requests per test run.
const MUTATIONS: u64 = 1_000;

/// A small deterministic generator (SplitMix64): the same damage in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}

/// Changes, removes, repeats or inserts a few bytes.
fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) {
    const SPICE: [&[u8]; 14] = [
        b"\"",
        b"{",
        b"}",
        b"[",
        b"\\u0000",
        b"\xff",
        b"null",
        b"-1",
        b"1e999",
        b"\r\n--B--\r\n",
        b"\r\n",
        b"%00",
        b"\\",
        b"99999999999999999999",
    ];
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        match dice.below(4) {
            0 => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
            1 => {
                let end = (at + dice.below(12)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 => {
                let end = (at + dice.below(40)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let spice = SPICE[dice.below(SPICE.len())];
                bytes.splice(at..at, spice.iter().copied());
            }
        }
        if bytes.is_empty() {
            bytes.push(b' ');
        }
    }
}

fn seeds() -> Vec<(&'static str, String)> {
    let mut full = tiny("[sandbox hang] a boat");
    full["metadata"] = serde_json::json!({"a": "b", "c": "d"});
    full["priority"] = 5.into();
    full["deadline_seconds"] = 60.into();
    full["input_reference"] =
        serde_json::json!({"image_url": format!("data:image/png;base64,{}", crate::app::base64(&crate::app::png()))});
    let part =
        |name: &str, value: &str| format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let form = ["prompt", "model", "seconds", "size", "metadata[a]", "provider_options"]
        .into_iter()
        .zip(["[sandbox hang] x", "sandbox", "1", "64x64", "b", "{\"fps\":5}"])
        .map(|(name, value)| part(name, value))
        .collect::<String>();
    vec![("application/json", full.to_string()), ("multipart/form-data; boundary=B", format!("{form}--B--\r\n"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_requests_are_answered_without_a_defect() {
    let server = Server::start().await;
    let mut dice = Dice(7);
    let seeds = seeds();
    let mut accepted = 0;
    for round in 0..MUTATIONS {
        let (kind, body) = &seeds[dice.below(seeds.len())];
        let mut body = body.clone().into_bytes();
        damage(&mut body, &mut dice);
        let response = server.post("/v1/videos").header("content-type", kind).body(body.clone()).send().await.unwrap();
        let status = response.status().as_u16();
        assert!(status < 500, "round {round}: {status} for {:?}", String::from_utf8_lossy(&body));
        let answer: Value = response.json().await.unwrap();
        accepted += u64::from(status == 200);
        assert!(status == 200 || answer["error"]["code"].is_string(), "round {round}: {answer}");
    }
    assert!(accepted > 0 && accepted < MUTATIONS, "{accepted} accepted: the damage is too strong or too weak");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_heads_are_answered_without_a_defect() {
    let server = Server::start_with(|config| config.server.header_timeout_secs = 1).await;
    let mut dice = Dice(11);
    let id = server.create(&tiny("[sandbox hang] x")).await["id"].as_str().unwrap().to_owned();
    let key = &server.admin_key;
    let tail = format!("HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\n");
    let seeds = [
        format!("GET /v1/videos?limit=2&order=asc&metadata[a]=b&status=failed {tail}\r\n"),
        format!("GET /v1/videos/{id}/content?variant=thumbnail {tail}range: bytes=0-9\r\nif-range: \"x\"\r\n\r\n"),
        format!("GET /v1/models/sandbox {tail}x-request-id: mine\r\n\r\n"),
        format!("DELETE /v1/videos/{id} {tail}\r\n"),
    ];
    for round in 0..300 {
        let mut bytes = seeds[dice.below(seeds.len())].clone().into_bytes();
        damage(&mut bytes, &mut dice);
        bytes.extend_from_slice(b"\r\n\r\n");
        let (status, _) = parse(&raw(&server, &bytes).await);
        assert!(status < 500, "round {round}: {status} for {:?}", String::from_utf8_lossy(&bytes));
    }
    server.stop().await;
}
