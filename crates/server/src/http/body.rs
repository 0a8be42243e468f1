//! Reads request bodies whole, within a size, a time and the memory set aside for them.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::OwnedSemaphorePermit;

use super::error::{ApiError, ErrorCode};
use super::limits::BODY_UNIT;
use crate::app::App;

/// A body in memory; its room is given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    /// The bytes.
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
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
    let mut bytes = BytesMut::new();
    let mut room: Option<OwnedSemaphorePermit> = None;
    let mut held_bytes = 0;
    loop {
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk,
            () = app.clock.sleep(app.limits.body_idle_timeout) => return Err(too_slow()),
        };
        let Some(chunk) = chunk else { break };
        let chunk = chunk.map_err(|_| ApiError::new(ErrorCode::RequestTimeout, "the body ended early; send it again"))?;
        let total = bytes.len().saturating_add(chunk.len());
        if total > limit {
            return Err(too_large(limit));
        }
        while total > held_bytes {
            let unit = Arc::clone(&app.memory.body_room).try_acquire_owned().map_err(|_| {
                ApiError::new(ErrorCode::Overloaded, "too many large requests at once; send it again in a moment")
            })?;
            match &mut room {
                Some(room) => room.merge(unit),
                None => room = Some(unit),
            }
            held_bytes += BODY_UNIT;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Held { bytes: bytes.freeze(), _room: room })
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(ErrorCode::BodyTooLarge, format!("the body is larger than the {limit} bytes this route reads"))
}

fn too_slow() -> ApiError {
    ApiError::new(ErrorCode::RequestTimeout, "the body came too slowly; send it again")
}
