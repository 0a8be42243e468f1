//! Bounds of requests and connections, with their defaults.

use std::num::NonZeroU32;
use std::time::Duration;

/// Every bound of the front door. `[limits]` in the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Requests being handled at once; more get 503.
    pub max_requests: usize,
    /// Event streams and WebSockets at once; more get 503.
    pub max_event_streams: usize,
    /// Longest request target, in bytes.
    pub max_uri_bytes: usize,
    /// Headers of one request.
    pub max_headers: usize,
    /// All headers of one request together, in bytes.
    pub max_header_bytes: usize,
    /// Largest JSON body or multipart form beyond its input image, in bytes.
    pub max_body_bytes: usize,
    /// Largest input image, in bytes.
    pub max_input_image_bytes: usize,
    /// Request bodies in memory at once, in bytes; more get 503.
    pub max_bodies_bytes: usize,
    /// Time for the headers of a request, and for a connection to sit idle.
    pub header_timeout: Duration,
    /// Longest pause within a body.
    pub body_idle_timeout: Duration,
    /// Time for a whole body.
    pub body_timeout: Duration,
    /// Longest time a client takes no byte of its response.
    pub write_timeout: Duration,
    /// Time between comments on a quiet event stream, and between pings of a quiet WebSocket.
    pub heartbeat: Duration,
    /// How long a stopping server waits for requests under way.
    pub stop_timeout: Duration,
    /// Time for fetching an input image.
    pub fetch_timeout: Duration,
    /// Requests per minute with one API key; `None` is no limit.
    pub requests_per_minute: Option<NonZeroU32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 8_192,
            max_requests: 2_048,
            max_event_streams: 2_048,
            max_uri_bytes: 8_192,
            max_headers: 100,
            max_header_bytes: 32 << 10,
            max_body_bytes: 1 << 20,
            max_input_image_bytes: 30_000_000,
            max_bodies_bytes: 512 << 20,
            header_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            stop_timeout: Duration::from_secs(10),
            fetch_timeout: Duration::from_secs(10),
            requests_per_minute: None,
        }
    }
}

/// The unit in which memory of bodies is counted, in bytes.
pub const BODY_UNIT: usize = 64 << 10;

impl Limits {
    /// The memory for bodies, in units of [`BODY_UNIT`].
    pub const fn body_room_units(&self) -> usize {
        self.max_bodies_bytes.div_ceil(BODY_UNIT)
    }

    /// Largest multipart form: the image as it is.
    pub const fn max_multipart_bytes(&self) -> usize {
        self.max_input_image_bytes.saturating_add(self.max_body_bytes)
    }

    /// Largest JSON body of a create: the image in base64.
    pub const fn max_create_json_bytes(&self) -> usize {
        self.max_input_image_bytes.div_ceil(3).saturating_mul(4).saturating_add(self.max_body_bytes)
    }
}
