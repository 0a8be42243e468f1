//! Bytes from outside, whole in memory: within a size, a time and the memory set aside for all of them together.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::OwnedSemaphorePermit;

use super::error::{ApiError, ErrorCode};
use super::limits::BODY_UNIT;
use crate::app::App;

/// Bytes in memory; their room is given back when this is dropped.
#[derive(Debug, Default)]
pub struct Held {
    /// The bytes.
    pub bytes: Bytes,
    _room: Room,
}

impl From<Bytes> for Held {
    /// Bytes whose room someone else holds.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, _room: Room::default() }
    }
}

/// Bytes as they come in, with the room they take.
#[derive(Debug, Default)]
pub struct Gathering {
    bytes: BytesMut,
    room: Room,
}

#[derive(Debug, Default)]
struct Room {
    units: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Gathering {
    /// How many bytes there are with `more`.
    pub fn len_with(&self, more: usize) -> usize {
        self.bytes.len().saturating_add(more)
    }

    /// Adds a chunk.
    ///
    /// # Errors
    /// `overloaded` where too many bodies are in memory.
    pub fn add(&mut self, app: &App, chunk: &[u8]) -> Result<(), ApiError> {
        let total = self.len_with(chunk.len());
        while total > self.room.bytes {
            let unit = Arc::clone(&app.memory.body_room).try_acquire_owned().map_err(|_| {
                ApiError::new(ErrorCode::Overloaded, "too many large requests at once; send it again in a moment")
            })?;
            match &mut self.room.units {
                Some(units) => units.merge(unit),
                None => self.room.units = Some(unit),
            }
            self.room.bytes += BODY_UNIT;
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// All of them.
    pub fn done(self) -> Held {
        Held { bytes: self.bytes.freeze(), _room: self.room }
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// `body_too_large`, `request_timeout`, or `overloaded` where too many bodies are in memory.
pub async fn read(app: &App, body: Body, limit: usize) -> Result<Held, ApiError> {
    if usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > limit {
        return Err(too_large(limit));
    }
    let deadline = app.clock.sleep(app.limits.body_timeout);
    tokio::select! {
        held = gather(app, body, limit) => held,
        () = deadline => Err(too_slow()),
    }
}

async fn gather(app: &App, body: Body, limit: usize) -> Result<Held, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut gathering = Gathering::default();
    loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk,
            () = app.clock.sleep(app.limits.body_idle_timeout) => return Err(too_slow()),
        };
        let Some(chunk) = chunk else { return Ok(gathering.done()) };
        let chunk =
            chunk.map_err(|_| ApiError::new(ErrorCode::RequestTimeout, "the body ended early; send it again"))?;
        if gathering.len_with(chunk.len()) > limit {
            return Err(too_large(limit));
        }
        gathering.add(app, &chunk)?;
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(ErrorCode::BodyTooLarge, format!("the body is larger than the {limit} bytes this route reads"))
}

fn too_slow() -> ApiError {
    ApiError::new(ErrorCode::RequestTimeout, "the body came too slowly; send it again")
}
