//! Where a provider calls back about one attempt (rule R6): an address nobody can guess, verified without a database.
//!
//! The token names the attempt itself and is signed with the secret key, so that a forged one is told from arithmetic
//! alone. Absent: a time limit; a call counts for as long as its attempt is waited for, and proves only that it exists.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longtake_core::ablation::{Rule, is_off};
use longtake_core::id::{AttemptNo, JobId};

/// Job and attempt.
const NAME_BYTES: usize = 18;
/// Of the signature; 2^128 guesses, each over the network.
const TAG_BYTES: usize = 16;
/// Longest token that is looked at, in characters: base64 of both.
const TOKEN_CHARS: usize = (NAME_BYTES + TAG_BYTES) * 4 / 3 + 1;

/// The token of an attempt at a provider: the same after a restart and on every machine with this secret key.
pub fn token(secret_key: &[u8; 32], provider: &str, job: JobId, attempt: AttemptNo) -> String {
    let mut bytes = [0; NAME_BYTES + TAG_BYTES];
    let (name, tag) = bytes.split_at_mut(NAME_BYTES);
    name[..16].copy_from_slice(job.as_bytes());
    name[16..].copy_from_slice(&attempt.0.to_be_bytes());
    tag.copy_from_slice(&sign(secret_key, provider, name));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The attempt that a token names; `None` for one that this server did not give to this provider.
pub fn read_token(secret_key: &[u8; 32], provider: &str, token: &str) -> Option<(JobId, AttemptNo)> {
    if token.len() != TOKEN_CHARS {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (name, tag) = bytes.split_at_checked(NAME_BYTES)?;
    constant_time::verify_slices_are_equal(&sign(secret_key, provider, name), tag).ok()?;
    let (job, attempt) = name.split_at_checked(16)?;
    let attempt = AttemptNo(u16::from_be_bytes(attempt.try_into().ok()?));
    Some((JobId::from_bytes(job.try_into().ok()?), attempt))
}

/// The address that an attempt's submission carries; `base` ends without a slash.
pub(crate) fn url(base: &str, secret_key: &[u8; 32], provider: &str, job: JobId, attempt: AttemptNo) -> Box<str> {
    // Without the rule the address names no attempt that there is.
    let attempt = if is_off(Rule::R6) { AttemptNo(u16::MAX) } else { attempt };
    format!("{base}/{provider}/{}", token(secret_key, provider, job, attempt)).into()
}

fn sign(secret_key: &[u8; 32], provider: &str, name: &[u8]) -> [u8; TAG_BYTES] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret_key);
    let mut context = hmac::Context::with_key(&key);
    context.update(b"longtake callback token 1");
    // The name's length is fixed, so where the provider's ends is clear.
    context.update(name);
    context.update(provider.as_bytes());
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&context.sign().as_ref()[..TAG_BYTES]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn job(n: u8) -> JobId {
        JobId::from_bytes([n; 16])
    }

    #[test]
    fn a_token_names_its_attempt_and_fits_into_a_path() {
        let token = token(&KEY, "minimax", job(3), AttemptNo(258));
        assert_eq!(token.len(), TOKEN_CHARS);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{token}");
        assert_eq!(read_token(&KEY, "minimax", &token), Some((job(3), AttemptNo(258))));
    }

    #[test]
    fn no_other_token_is_taken() {
        let good = token(&KEY, "minimax", job(3), AttemptNo(1));
        assert_eq!(read_token(&[8; 32], "minimax", &good), None, "another key");
        assert_eq!(read_token(&KEY, "minimaxx", &good), None, "another provider");
        for place in 0..good.len() {
            let mut forged = good.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(read_token(&KEY, "minimax", &forged), None, "character {place}");
        }
        for odd in ["", "a", &good[1..], &format!("{good}A"), &good.replace(|_: char| true, "é"), &"=".repeat(46)] {
            assert_eq!(read_token(&KEY, "minimax", odd), None, "{odd:?}");
        }
    }
}
