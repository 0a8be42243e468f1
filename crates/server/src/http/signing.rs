//! What leaves us and comes back: links and names that nobody else can make. HMAC-SHA256 with the secret key.
//!
//! Every use has a purpose of its own, so that a signature made for one means nothing to another. All machines share the
//! secret key, so each knows what the others made.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use crate::app::App;

/// The signature of some parts, for one purpose. Where one part ends and the next begins is signed too.
pub fn sign(app: &App, purpose: &'static str, parts: &[&[u8]]) -> [u8; 32] {
    signature(&app.engine.parts().secret_key, purpose, parts)
}

/// Whether `given`, which may be the first bytes only, is the signature; in constant time. No bytes sign nothing.
pub fn is_signed(app: &App, purpose: &'static str, parts: &[&[u8]], given: &[u8]) -> bool {
    let right = sign(app, purpose, parts);
    !given.is_empty() && right.get(..given.len()).is_some_and(|right| verify_slices_are_equal(right, given).is_ok())
}

/// The same below handlers.
pub fn signature(secret_key: &[u8; 32], purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret_key));
    for part in [b"longtake", purpose.as_bytes()].iter().chain(parts) {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let mut signature = [0; 32];
    signature.copy_from_slice(context.sign().as_ref());
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_else_has_the_same_signature() {
        let key = [7; 32];
        let one = signature(&key, "a", &[b"bc", b"d"]);
        assert_eq!(one, signature(&key, "a", &[b"bc", b"d"]));
        for other in [
            signature(&[8; 32], "a", &[b"bc", b"d"]),
            signature(&key, "b", &[b"bc", b"d"]),
            signature(&key, "a", &[b"b", b"cd"]),
            signature(&key, "ab", &[b"c", b"d"]),
            signature(&key, "a", &[b"bcd"]),
        ] {
            assert_ne!(one, other);
        }
    }
}
