//! `GET /v1/events/ws`: the feed as messages of a WebSocket, for pages, whose scripts can give a stream no header.
//!
//! The same stream as `GET /v1/events` in another encoding, resumed in the same way. A client has nothing to say but pings,
//! pongs and goodbye. What ends a socket is said in its close code; a script sees no answer to a handshake, so a cursor that
//! cannot be used is told in the socket too.

use std::pin::pin;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt};
use http::HeaderMap;
use tokio::io::{AsyncReadExt, copy, sink};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use utoipa::ToSchema;

use super::super::auth::SocketReader;
use super::super::error::{ApiError, ErrorBody, ErrorCode};
use super::super::events::Event;
use super::super::query::Query;
use super::super::websocket::{Handshake, Socket};
use super::frame::{End, Frame};
use crate::app::App;

/// Messages written together, at most.
const MAX_TOGETHER: usize = 16;
/// How long a client may take to answer our goodbye.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a stopping server waits for a client that takes nothing, with the goodbye.
const STOP_BOUND: Duration = Duration::from_secs(2);
/// Most that is read, and thrown away, of a client that breaks the rules: unread, it would take our goodbye along.
const MAX_DRAINED_BYTES: u64 = 1 << 20;
/// What is added to the status of an error, for a close code of our own.
const OWN_CODES: u16 = 4_000;

/// One message of the WebSocket `GET /v1/events/ws`.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only described: events are written as text")]
pub struct FeedMessage {
    /// Opaque; resume behind it. The first message has nothing else.
    cursor: String,
    /// What happened; absent where only the cursor moved.
    event: Option<Event>,
}

/// The events of all your videos as messages of a WebSocket. Browsers give the key as a protocol: `longtake`, `key.lt_…`.
#[utoipa::path(
    get, path = "/v1/events/ws", operation_id = "socket_events", tag = "videos",
    params(
        ("after" = Option<String>, Query, description = "Begin behind this cursor. Without: from now on."),
        ("types" = Option<String>, Query, description = "Only these types, with commas between."),
        ("Sec-WebSocket-Protocol" = Option<String>, Header, description = "`longtake`, and in place of `Authorization` also `key.` followed by the API key."),
    ),
    responses(
        (status = 101, body = FeedMessage, content_type = "application/json", description = "Each text message is one JSON object. A socket that cannot go on from its cursor ends with an object that is the envelope of an error, and the close code 4000 and its status. Close codes: docs/api.md."),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 426, body = ErrorBody, description = "The request asks for no WebSocket."),
        (status = 503, body = ErrorBody),
    )
)]
pub async fn socket(
    State(app): State<App>,
    SocketReader(caller): SocketReader,
    query: Query,
    headers: HeaderMap,
    handshake: Handshake,
) -> Result<Response, ApiError> {
    match super::open(&app, caller.project, query, &headers).await {
        Ok(stream) => Ok(handshake.answer(move |socket| async move {
            let stopped = async {
                app.stopping.cancelled().await;
                app.clock.sleep(STOP_BOUND).await;
            };
            tokio::select! {
                () = tell(&app, stream.frames(), socket) => {}
                () = stopped => {}
            }
        })),
        Err(error) if matches!(error.code(), ErrorCode::InvalidCursor | ErrorCode::CursorExpired) => {
            Ok(handshake
                .answer(move |socket| async move { bid_farewell(&app, socket, End::Refused(error).into()).await }))
        }
        Err(error) => Err(error),
    }
}

/// The last a client hears.
struct Goodbye {
    /// A message before the close.
    text: Option<String>,
    code: CloseCode,
    reason: &'static str,
    /// The client broke the rules of frames: nothing it sends can be read any more.
    broken: bool,
}

impl Goodbye {
    const fn new(code: CloseCode, reason: &'static str) -> Self {
        Self { text: None, code, reason, broken: false }
    }

    const fn to_a_broken_one(code: CloseCode, reason: &'static str) -> Self {
        Self { text: None, code, reason, broken: true }
    }
}

impl From<End> for Goodbye {
    fn from(end: End) -> Self {
        match end {
            End::Stopping => Self::new(CloseCode::Away, "the server stops; resume behind your last cursor"),
            End::Unreadable => Self::new(CloseCode::Error, "events cannot be read now; resume behind your last cursor"),
            End::Refused(error) => {
                let code = CloseCode::from(OWN_CODES + error.code().status().as_u16());
                Self { text: serde_json::to_string(&error.body()).ok(), ..Self::new(code, error.code().code()) }
            }
        }
    }
}

/// Tells until there is nothing more to tell, or nobody to tell it to.
async fn tell(app: &App, frames: impl Stream<Item = Result<Frame, End>>, mut socket: Socket) {
    let mut frames = pin!(frames.ready_chunks(MAX_TOGETHER));
    let mut pulse = Pulse::default();
    let goodbye = loop {
        tokio::select! {
            told = frames.next() => {
                // What has no more to tell has said why.
                let Some(told) = told else { return };
                match write(app, &mut socket, &mut pulse, told).await {
                    Ok(None) => {}
                    Ok(Some(end)) => break end.into(),
                    Err(gone) => return tracing::debug!(%gone, "a WebSocket ends"),
                }
            }
            said = socket.next() => match heard(said) {
                Heard::Pong => pulse.asked_at = None,
                Heard::Nothing => {}
                Heard::Nonsense(goodbye) => break goodbye,
                Heard::Close => {
                    // Its goodbye is answered by what reads it; only the wire has to be waited for.
                    if let Err(gone) = socket.flush().await {
                        tracing::debug!(%gone, "a WebSocket ends without an answer to its close");
                    }
                    return;
                }
                Heard::Gone => return,
            },
        }
    };
    bid_farewell(app, socket, goodbye).await;
}

/// Whether the client is still there, where nothing is told.
#[derive(Default)]
struct Pulse {
    /// When the ping went out that has no answer yet, on the monotonic clock.
    asked_at: Option<Duration>,
}

/// A client that has not answered a ping for a whole heartbeat.
fn is_dead(app: &App, pulse: &Pulse) -> bool {
    pulse.asked_at.is_some_and(|at| app.clock.monotonic().saturating_sub(at) >= app.limits.heartbeat)
}

/// Writes what has come; the end if it is among it.
async fn write(
    app: &App,
    socket: &mut Socket,
    pulse: &mut Pulse,
    told: Vec<Result<Frame, End>>,
) -> Result<Option<End>, Error> {
    for frame in told {
        let frame = match frame {
            Ok(frame) => frame,
            Err(end) => return Ok(Some(end)),
        };
        if let Some(text) = frame.to_json() {
            socket.feed(Message::text(text)).await?;
        }
        if matches!(frame, Frame::Alive { .. }) {
            if is_dead(app, pulse) {
                return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
            }
            if pulse.asked_at.is_none() {
                pulse.asked_at = Some(app.clock.monotonic());
                socket.feed(Message::Ping(Bytes::new())).await?;
            }
        }
    }
    socket.flush().await.map(|()| None)
}

/// What a client said.
enum Heard {
    Pong,
    /// Something that needs no answer of ours.
    Nothing,
    Nonsense(Goodbye),
    Close,
    Gone,
}

fn heard(said: Option<Result<Message, Error>>) -> Heard {
    match said {
        Some(Ok(Message::Pong(_))) => Heard::Pong,
        Some(Ok(Message::Ping(_))) => Heard::Nothing,
        Some(Ok(Message::Close(_))) => Heard::Close,
        Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Frame(_))) => {
            Heard::Nonsense(Goodbye::new(CloseCode::Unsupported, "this socket only tells: send pings, pongs and close"))
        }
        Some(Err(Error::Capacity(_))) => Heard::Nonsense(Goodbye::to_a_broken_one(
            CloseCode::Size,
            "this socket only tells, and reads no such message",
        )),
        Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Heard::Gone,
        Some(Err(Error::Protocol(_) | Error::Utf8(_))) => {
            Heard::Nonsense(Goodbye::to_a_broken_one(CloseCode::Protocol, "frames that RFC 6455 does not know"))
        }
        Some(Err(_)) | None => Heard::Gone,
    }
}

/// Says why it is over and waits a little until the client has heard it.
async fn bid_farewell(app: &App, mut socket: Socket, goodbye: Goodbye) {
    let Goodbye { text, code, reason, broken } = goodbye;
    let said = async {
        if let Some(text) = text {
            socket.feed(Message::text(text)).await?;
        }
        socket.close(Some(CloseFrame { code, reason: reason.into() })).await?;
        if broken {
            // Bytes left unread would make the kernel take back what we said.
            copy(&mut socket.get_mut().take(MAX_DRAINED_BYTES), &mut sink()).await?;
        } else {
            while socket.next().await.is_some_and(|said| said.is_ok()) {}
        }
        Ok::<_, Error>(())
    };
    tokio::select! {
        said = said => if let Err(gone) = said {
            tracing::debug!(%gone, "a WebSocket ended before it was told why");
        },
        () = app.clock.sleep(FAREWELL) => {}
    }
}
