//! Hostile answers: every fixture, damaged in thousands of ways, and junk. No decoder may panic, accept an id that
//! cannot be asked for again, or repeat a secret.

use bytes::Bytes;
use longtake_core::failure::Failure;
use longtake_core::id::ProviderJobId;
use longtake_core::provider::{ProviderError, ProviderState, ProviderStatus};
use longtake_core::time::Timestamp;
use longtake_providers::http::redact::Redactor;
use longtake_providers::http::{Answer, retry_after};
use longtake_providers::minimax::lookup::Search as MinimaxSearch;
use longtake_providers::minimax::models::{Model, Wire};
use longtake_providers::minimax::options::wanted;
use longtake_providers::openai_compatible::lookup::Search;
use longtake_providers::{minimax, openai_compatible};

use crate::support::*;

/// Mutations per decoder.
const MUTATIONS: u64 = 20_000;
const PROMPT: &str = "a paper boat in the rain";
const STATUSES: [u16; 12] = [200, 200, 200, 201, 302, 400, 401, 404, 422, 429, 500, 529];

/// SplitMix64: the same damage in each run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// The fixtures of a folder whose names hold a word; every name holds the empty one.
fn fixtures(folder: &str, word: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/src/{folder}/fixtures", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.file_name().unwrap().to_string_lossy().contains(word));
    assert!(!paths.is_empty(), "{folder} has fixtures of {word:?}");
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// What parsers stumble over.
const TOKENS: [&str; 18] = [
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551616",
    "\"\"",
    "\"\\u0000\"",
    "\"a\\nb\"",
    "\"..\"",
    "{}",
    "[]",
    "[[[[[[",
    "{\"a\":",
    "\"\\ud800\"",
    "\u{202e}",
    "\"https://[::1\"",
    "\"failed\"",
    "\"\\u001b[2J\"",
];

fn damaged(dice: &mut Dice, fixtures: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = fixtures[dice.below(fixtures.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at),
            2 => {
                let end = (at + dice.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let other = &fixtures[dice.below(fixtures.len())];
                let from = dice.below(other.len());
                let part = other[from..(from + dice.below(64)).min(other.len())].to_vec();
                bytes.splice(at..at, part);
            }
            4 => bytes.extend(std::iter::repeat_n(b'[', dice.below(300))),
            // In place of a value: after a colon, up to the next comma or brace.
            5 => {
                let token = TOKENS[dice.below(TOKENS.len())].bytes();
                if let Some(colon) = bytes[at..].iter().position(|byte| *byte == b':').map(|found| at + found + 1) {
                    let length = bytes[colon..].iter().position(|byte| b",}\n".contains(byte)).unwrap_or(0);
                    bytes.splice(colon..colon + length, token);
                }
            }
            _ => bytes = (0..dice.below(200)).map(|_| dice.next() as u8).collect(),
        }
    }
    bytes
}

fn clean(text: &str) -> String {
    Redactor { key: Some(KEY), prompt: Some(PROMPT) }.text(text)
}

fn check_failure(failure: &Failure) {
    assert!(failure.message.len() <= Failure::MAX_MESSAGE_BYTES && !failure.message.is_empty());
    assert!(!failure.message.chars().any(char::is_control), "{:?}", failure.message);
    assert!(!failure.message.contains(KEY) && !failure.message.contains(PROMPT), "{}", failure.message);
}

fn check_error(error: &ProviderError) {
    match error {
        ProviderError::Rejected(failure) | ProviderError::Account(failure) => check_failure(failure),
        ProviderError::NotSent { .. } => panic!("an answer proves that something was sent"),
        ProviderError::RateLimited { .. } | ProviderError::Gone | ProviderError::Unknown { .. } => {}
    }
}

fn check_submission(status: u16, body: &[u8], answer: &Result<ProviderJobId, ProviderError>) {
    match answer {
        Ok(id) => {
            assert!((200..300).contains(&status), "accepted with HTTP {status}");
            let id = id.as_str().strip_prefix("v1:").unwrap_or(id.as_str());
            assert!(!id.is_empty() && id.len() <= ProviderJobId::MAX_BYTES && !matches!(id, "." | ".."), "{id:?}");
            assert!(!id.chars().any(char::is_control), "{id:?}");
            assert!(serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok(), "an id out of broken JSON");
        }
        Err(error) => check_error(error),
    }
}

fn check_status(answer: &Result<ProviderStatus, ProviderError>) {
    match answer {
        Ok(status) => {
            assert!(status.progress.is_none_or(|progress| (1..=100).contains(&progress)));
            match &status.state {
                ProviderState::Done(outputs) => assert!(!outputs.is_empty() && !outputs[0].source.is_empty()),
                ProviderState::Failed(failure) => check_failure(failure),
                ProviderState::Pending | ProviderState::NotFound => {}
            }
        }
        Err(error) => check_error(error),
    }
}

/// Feeds damaged answers to one decoder; returns how many it took for good, so that a blind one is seen.
fn replay(folder: &str, word: &str, seed: u64, decode: impl Fn(&Answer) -> bool) -> usize {
    let (fixtures, mut dice, mut good) = (fixtures(folder, word), Dice(seed), 0);
    for fixture in &fixtures {
        for status in STATUSES {
            good += usize::from(decode(&Answer::new(status, fixture.clone())));
        }
    }
    for _ in 0..MUTATIONS {
        let status = STATUSES[dice.below(STATUSES.len())];
        good += usize::from(decode(&Answer::new(status, Bytes::from(damaged(&mut dice, &fixtures)))));
    }
    good
}

#[test]
fn no_damaged_video_is_mistaken() {
    let job = ProviderJobId::new("video_abc").unwrap();
    let good = replay("openai_compatible", "", 1, |answer| {
        let submitted = openai_compatible::answers::submission(answer, &clean);
        check_submission(answer.status, &answer.body, &submitted);
        submitted.is_ok()
    });
    assert!(good > 100, "{good}");
    let good = replay("openai_compatible", "", 2, |answer| {
        let status = openai_compatible::answers::status(answer, &job, &clean);
        check_status(&status);
        status.is_ok()
    });
    assert!(good > 100, "{good}");
    let good = replay("openai_compatible", "", 3, |answer| {
        let _url = openai_compatible::answers::url_in_refusal(answer);
        openai_compatible::answers::deletion(answer).is_ok()
    });
    assert!(good > 100, "{good}");
}

#[test]
fn no_damaged_list_proves_anything_it_does_not_show() {
    let lost = find_request(&submission("sora-2", request(PROMPT, 8)), Timestamp::from_micros(1_769_990_000_000_000));
    let good = replay("openai_compatible", "list", 4, |answer| {
        let Ok(page) = openai_compatible::answers::page(answer) else { return false };
        let mut search = Search::new(&lost);
        let covered = search.read(&page) == openai_compatible::lookup::Next::Covered;
        let found = search.finish(covered);
        let shown = String::from_utf8_lossy(&answer.body).contains("paper boat");
        assert!(found.candidates.is_empty() || shown, "a candidate without its prompt");
        true
    });
    assert!(good > 200, "{good}");
    let ours = wanted(Model::by_name("MiniMax-H3").unwrap(), &request("p", 6)).unwrap();
    let good = replay("minimax", "list", 5, |answer| {
        let Ok(page) = minimax::answers::list(answer) else { return false };
        let mut search = MinimaxSearch::new("MiniMax-H3", &ours, 6, Timestamp::from_micros(1_795_400_000_000_000));
        let covered = search.read(&page) == minimax::lookup::Next::Covered;
        let found = search.finish(covered);
        assert!(found.candidates.iter().all(|id| !id.as_str().is_empty()));
        true
    });
    assert!(good > 200, "{good}");
}

#[test]
fn no_damaged_task_is_mistaken() {
    let then = Timestamp::from_micros(1_795_400_060_000_000);
    for (seed, wire) in [(6, Wire::V1), (7, Wire::V2)] {
        let good = replay("minimax", "", seed, |answer| {
            let submitted = minimax::answers::submission(answer, wire, &clean);
            check_submission(answer.status, &answer.body, &submitted);
            submitted.is_ok()
        });
        assert!(good > 50, "{good}");
    }
    let good = replay("minimax", "", 8, |answer| {
        let status = minimax::answers::second_status(answer, then, &clean);
        check_status(&status);
        status.is_ok()
    });
    assert!(good > 100, "{good}");
    let good = replay("minimax", "", 9, |answer| {
        let status = minimax::answers::first_status(answer, &clean);
        check_status(&status);
        status.is_ok()
    });
    assert!(good > 100, "{good}");
    let good = replay("minimax", "", 10, |answer| match minimax::answers::download_url(answer) {
        Ok(url) => url.starts_with("http"),
        Err(error) => {
            check_error(&error);
            false
        }
    });
    assert!(good > 10, "{good}");
}

#[test]
fn no_damaged_answer_leaks_into_the_timeline() {
    let redactor = Redactor { key: Some(KEY), prompt: Some(PROMPT) };
    for (folder, seed) in [("openai_compatible", 11), ("minimax", 12)] {
        let (fixtures, mut dice) = (fixtures(folder, ""), Dice(seed));
        for _ in 0..MUTATIONS {
            let mut body = damaged(&mut dice, &fixtures);
            let secret = if dice.below(2) == 0 { KEY } else { PROMPT };
            let at = dice.below(body.len());
            body.splice(at..at, secret.bytes());
            let kept = redactor.excerpt(&body);
            assert!(!kept.contains(KEY) && !kept.contains(PROMPT), "{kept}");
        }
    }
}

#[test]
fn no_header_asks_for_more_than_an_hour() {
    let mut dice = Dice(13);
    let seed = b"Sun, 06 Nov 2994 08:49:37 GMT 9999999999 -1 \xc3\xa9";
    for _ in 0..MUTATIONS {
        let mut bytes = seed[dice.below(seed.len())..].to_vec();
        for _ in 0..dice.below(6) {
            let at = dice.below(bytes.len());
            bytes[at] = dice.next() as u8;
        }
        let wait = retry_after::parse(&String::from_utf8_lossy(&bytes), now());
        assert!(wait.is_none_or(|wait| wait <= retry_after::MAX));
    }
}
