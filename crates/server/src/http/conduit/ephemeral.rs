//! Short-lived stand-ins for an API key, to be given to browsers: `POST …/auth/ephemeral-key`.
//!
//! A stand-in is sealed, not stored: whoever holds the secret key reads from it which key it stands for and until when,
//! on every machine. It dies with its key, shares its rate, and never does what needs the scope admin.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use longtake_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::dialect::Dialect;
use super::errors::Refusals;
use crate::app::App;
use crate::http::auth::Known;
use crate::http::body;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::node::{Members, Node};
use crate::http::signing::sign;

/// What every ephemeral key begins with.
pub const PREFIX: &str = "ek_";
/// How long one lives.
const LIFE: Duration = Duration::from_secs(300);
/// What the sealing key is derived for.
const PURPOSE: &str = "ephemeral keys";

/// An ephemeral key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitEphemeralKey)]
pub struct EphemeralKey {
    /// To be sent where the API key would be.
    ephemeral_key: String,
    /// When it is over, in ISO 8601.
    expires_at: String,
    /// The same from now.
    expires_in_seconds: u64,
}

/// Makes a key that stands for the caller's for 300 seconds, as often as it is used. It never has the scope admin.
#[utoipa::path(
    post, path = "/auth/ephemeral-key", operation_id = "ephemeral_key", tag = "conduit",
    responses(
        (status = 200, body = EphemeralKey, description = "The key."),
        (status = 413, description = "The body, of which nothing is needed, is too large."), Refusals,
    )
)]
pub async fn make(
    State(app): State<App>,
    dialect: Dialect,
    Known(caller): Known,
    request: Request,
) -> Result<Response, ApiError> {
    if caller.ephemeral {
        let message = "an ephemeral key makes no other; ask with the API key";
        return Err(ApiError::new(ErrorCode::InsufficientScope, message));
    }
    // The body says nothing we need; what is sent as one must be one.
    let held = body::read(&app, request.into_body(), app.limits.max_body_bytes).await?;
    if !held.bytes.is_empty() {
        Members::of_body(Node::from_json(&held.bytes)?)?;
    }
    let expires_at = app.clock.now() + LIFE;
    let Some(ephemeral_key) = seal(&app, &caller.hash, expires_at) else {
        return Err(ApiError::new(ErrorCode::InternalError, "the key could not be made"));
    };
    let (expires_at, expires_in_seconds) = (dialect.time(expires_at), LIFE.as_secs());
    Ok(dialect.answer(StatusCode::OK, &EphemeralKey { ephemeral_key, expires_at, expires_in_seconds }))
}

/// A stand-in for the key with this hash; `None` where there is no randomness.
pub fn seal(app: &App, hash: &[u8; 32], expires_at: Timestamp) -> Option<String> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, &sign(app, PURPOSE, &[])).ok()?;
    let mut sealed = hash.to_vec();
    sealed.extend_from_slice(&expires_at.as_micros().to_be_bytes());
    let nonce = key.seal_in_place_append_tag(Aad::from(PREFIX), &mut sealed).ok()?;
    let bytes = [nonce.as_ref().as_slice(), &sealed].concat();
    Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The hash of the key it stands for, unless it is over or none of ours.
pub fn open(app: &App, token: &str) -> Option<[u8; 32]> {
    let mut bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?;
    let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, &sign(app, PURPOSE, &[])).ok()?;
    let plain = key.open_in_place(nonce, Aad::from(PREFIX), sealed).ok()?;
    let (hash, expires_at) = plain.split_first_chunk::<32>()?;
    let expires_at = Timestamp::from_micros(i64::from_be_bytes(<[u8; 8]>::try_from(expires_at).ok()?));
    (app.clock.now() < expires_at).then_some(*hash)
}
