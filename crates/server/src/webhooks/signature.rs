//! Standard Webhooks signatures (<https://www.standardwebhooks.com>, read 2026-11): `webhook-signature` is a list of
//! `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`, one for each active secret.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longtake_core::id::ProjectId;
use longtake_core::time::Timestamp;
use longtake_core::webhook::Endpoint;

use crate::http::signing::signature;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// A secret as clients keep it: `whsec_` and the base64 of 32 bytes. Made from the installation's key and a row's salt, so
/// that neither alone signs anything.
pub fn secret(secret_key: &[u8; 32], salt: &[u8; 16]) -> String {
    format!("{PREFIX}{}", STANDARD.encode(signature(secret_key, "webhook secret", &[salt])))
}

/// The secret that signs for the `webhook_url`s of a project's videos.
pub fn video_secret(secret_key: &[u8; 32], project: ProjectId) -> String {
    let key = signature(secret_key, "webhook secret of videos", &[&project.0.to_be_bytes()]);
    format!("{PREFIX}{}", STANDARD.encode(key))
}

/// The secrets that sign for an endpoint now, newest first.
pub fn secrets(secret_key: &[u8; 32], endpoint: &Endpoint, now: Timestamp) -> Vec<String> {
    match endpoint.url {
        Some(_) => endpoint.active_salts(now).map(|salt| secret(secret_key, &salt.bytes)).collect(),
        None => vec![video_secret(secret_key, endpoint.project)],
    }
}

/// The value of `webhook-signature`.
pub fn sign(secrets: &[String], id: &str, unix_secs: i64, body: &[u8]) -> String {
    let signed = secrets.iter().map(|secret| {
        let key = STANDARD.decode(secret.trim_start_matches(PREFIX)).unwrap_or_default();
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
        context.update(format!("{id}.{unix_secs}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    });
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn signs_as_the_reference_libraries_do() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
        let signed = sign(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs_and_none_is_another_s() {
        let key = [7; 32];
        let secrets = [secret(&key, &[1; 16]), secret(&key, &[2; 16]), video_secret(&key, ProjectId(1))];
        let signed = sign(&secrets, "evt_1", 1, b"{}");
        let signatures: std::collections::BTreeSet<&str> = signed.split(' ').collect();
        assert_eq!(signatures.len(), 3);
        assert_ne!(secret(&[8; 32], &[1; 16]), secrets[0]);
        assert_eq!(STANDARD.decode(secrets[0].trim_start_matches(PREFIX)).unwrap().len(), 32);
    }
}
