//! The handshake of WebSockets and the connection behind it, for sockets that tell and are told nothing.
//!
//! RFC 6455 over HTTP/1.1, without extensions; hyper hands the connection over once the answer is written, and tungstenite
//! reads and writes its frames. What a client may send is bounded to next to nothing, and so is what waits for it here.
//! Absent: what is told (feed), and WebSockets over HTTP/2, which no browser tries without TLS.

use std::future::Future;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::error::{ApiError, ErrorCode};
use super::serve::Seat;

/// The protocol that a server answers with where it is offered: a page that offers any must get one of them.
const PROTOCOL: &str = "longtake";
/// Largest message of a client. It has nothing to say, so this is room to say so in order.
const MAX_INCOMING_BYTES: usize = 4 << 10;
/// Read at once; a connection keeps it for as long as it lives.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// Gathered before it is written, if nobody asks to write sooner.
const WRITE_BUFFER_BYTES: usize = 16 << 10;
/// Most that waits to be written: the above and a message, the largest of which is an event with a prompt of control
/// characters and full metadata.
const MAX_WRITE_BUFFER_BYTES: usize = 2 << 20;
/// What a client's key is hashed with (RFC 6455, section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a client's key, before they become text.
const KEY_BYTES: usize = 16;

/// An open socket.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A request for a WebSocket that may be granted.
#[derive(Debug)]
pub struct Handshake {
    connection: OnUpgrade,
    seat: Option<Seat>,
    accept: HeaderValue,
    with_protocol: bool,
}

impl<S: Sync> FromRequestParts<S> for Handshake {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let headers = &parts.headers;
        let asked = parts.method == Method::GET
            && parts.version == Version::HTTP_11
            && has_word(headers, &CONNECTION, "upgrade")
            && has_word(headers, &UPGRADE, "websocket")
            && headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let upgrade_required = || {
            let message = "speaks WebSocket, version 13 over HTTP/1.1: ask with Upgrade: websocket (a proxy must pass it on), or read GET /v1/events";
            ApiError::new(ErrorCode::UpgradeRequired, format!("the route {message}"))
        };
        if !asked {
            return Err(upgrade_required());
        }
        let accept = accept(headers)?;
        let with_protocol = protocols(headers).any(|offered| offered == PROTOCOL);
        if !with_protocol && protocols(headers).next().is_some() {
            let message = "must offer longtake beside others: a browser wants one of them in the answer";
            return Err(ApiError::about("Sec-WebSocket-Protocol", ErrorCode::InvalidHeader, message));
        }
        let seat = parts.extensions.get::<Seat>().cloned();
        let connection = parts.extensions.remove::<OnUpgrade>().ok_or_else(upgrade_required)?;
        Ok(Self { connection, seat, accept, with_protocol })
    }
}

impl Handshake {
    /// Grants it: the response that switches protocols, after which `session` has the socket.
    pub fn answer<F, S>(self, session: F) -> Response
    where
        F: FnOnce(Socket) -> S + Send + 'static,
        S: Future<Output = ()> + Send,
    {
        let Self { connection, seat, accept, with_protocol } = self;
        tokio::spawn(async move {
            let _seat = seat;
            // Resolves when the answer is written, or the connection is gone.
            match connection.await {
                Ok(connection) => session(open(TokioIo::new(connection)).await).await,
                Err(error) => tracing::debug!(%error, "a WebSocket did not come to be"),
            }
        });
        let mut response = (StatusCode::SWITCHING_PROTOCOLS, Body::empty()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if with_protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        }
        response
    }
}

async fn open(connection: TokioIo<Upgraded>) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(Some(MAX_INCOMING_BYTES))
        .max_frame_size(Some(MAX_INCOMING_BYTES));
    WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await
}

/// The proof that the request was understood.
fn accept(headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    let invalid = || {
        let message = "must be 16 random bytes in base64";
        ApiError::about("Sec-WebSocket-Key", ErrorCode::InvalidHeader, message)
    };
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(invalid)?.as_bytes();
    if STANDARD.decode(key).map_or(0, |bytes| bytes.len()) != KEY_BYTES {
        return Err(invalid());
    }
    // SHA-1 proves nothing here but that the peer speaks the protocol.
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, ACCEPT_SUFFIX].concat());
    HeaderValue::from_str(&STANDARD.encode(hash)).map_err(|_| invalid())
}

/// The protocols that a client offers, in its order.
pub fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    words(headers, &SEC_WEBSOCKET_PROTOCOL)
}

fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    words(headers, name).any(|held| held.eq_ignore_ascii_case(word))
}

fn words<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// As a browser asks, with some headers changed; an empty value removes one.
    fn asking(changes: &[(&'static str, &str)]) -> Parts {
        let request = Request::get("/").version(Version::HTTP_11);
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let usual = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for (name, value) in usual.iter().chain(changes) {
            match *value {
                "" => drop(parts.headers.remove(*name)),
                value => drop(parts.headers.insert(*name, value.parse().unwrap())),
            }
        }
        parts
    }

    async fn refusal(mut parts: Parts) -> ErrorCode {
        Handshake::from_request_parts(&mut parts, &()).await.unwrap_err().code()
    }

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        assert_eq!(accept(&asking(&[]).headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn what_is_no_handshake_is_told_what_one_is() {
        for change in [
            [("connection", "keep-alive")],
            [("upgrade", "h2c")],
            [("upgrade", "")],
            [("sec-websocket-version", "8")],
            [("sec-websocket-version", "")],
        ] {
            assert_eq!(refusal(asking(&change)).await, ErrorCode::UpgradeRequired, "{change:?}");
        }
        for change in [
            [("sec-websocket-key", "")],
            [("sec-websocket-key", "c2hvcnQ=")],
            [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")],
            [("sec-websocket-protocol", "graphql-ws")],
            [("sec-websocket-protocol", "key.lt_x")],
        ] {
            assert_eq!(refusal(asking(&change)).await, ErrorCode::InvalidHeader, "{change:?}");
        }
        // Nothing below it can be handed over, as with HTTP/2.
        assert_eq!(refusal(asking(&[])).await, ErrorCode::UpgradeRequired);
    }

    #[test]
    fn protocols_may_stand_in_one_header_or_in_several() {
        let mut headers = asking(&[("sec-websocket-protocol", "longtake , key.lt_a")]).headers;
        headers.append(SEC_WEBSOCKET_PROTOCOL, "other".parse().unwrap());
        assert_eq!(protocols(&headers).collect::<Vec<_>>(), ["longtake", "key.lt_a", "other"]);
    }
}
