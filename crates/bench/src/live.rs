//! Listeners to live events over plain sockets, as server-sent events and as messages of a WebSocket: cheap, so that what
//! is measured is the server. They note which event came when, and nothing else of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::Outcome;

/// Longest head of an answer.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Longest frame: far more than an event of a short prompt.
const MAX_FRAME_BYTES: usize = 1 << 20;
/// Between two looks at a listener that reads nothing.
const LOOK: Duration = Duration::from_millis(200);
/// All connections of this machine.
const SOCKETS: &str = "/proc/net/tcp";
/// Read at once, and kept by each listener.
const PIECE_BYTES: usize = 8 * 1024;
/// What stands before the id of an event, and nowhere else.
const MARK: &[u8] = b"\"id\":\"evt_video_";
/// Hex digits of a job.
const JOB_DIGITS: usize = 32;
/// Most digits of an event's number.
const MAX_NUMBER_DIGITS: usize = 10;

/// How events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Server-sent events.
    Stream,
    /// A WebSocket.
    Socket,
}

/// One event at one listener.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    pub listener: u32,
    pub job: u128,
    pub number: u32,
    /// Microseconds since the Unix epoch.
    pub at_us: u64,
}

/// What all listeners have noted.
#[derive(Clone, Default)]
pub struct Receipts(Arc<Mutex<Vec<Receipt>>>);

impl Receipts {
    pub fn take(&self) -> Vec<Receipt> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, receipt: Receipt) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(receipt);
    }
}

/// Microseconds since the Unix epoch.
pub fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// An open stream or socket that has been read up to the end of its head.
pub struct Listener {
    stream: TcpStream,
    buffer: Vec<u8>,
    kind: Kind,
    number: u32,
}

impl Listener {
    /// Opens it; `receive_bytes` makes the kernel take little that is not read.
    pub async fn open(
        address: SocketAddr,
        key: &str,
        path: &str,
        kind: Kind,
        number: u32,
        receive_bytes: Option<u32>,
    ) -> Outcome<Self> {
        let failed = |error: std::io::Error| format!("a listener at {address}: {error}");
        let socket = TcpSocket::new_v4().map_err(failed)?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes).map_err(failed)?;
        }
        let mut stream = socket.connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let upgrade = match kind {
            Kind::Stream => "",
            Kind::Socket => {
                "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: bG9uZ3Rha2UtYmVuY2ghIQ==\r\n"
            }
        };
        let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n{upgrade}\r\n");
        stream.write_all(head.as_bytes()).await.map_err(failed)?;
        let mut listener = Self { stream, buffer: Vec::with_capacity(PIECE_BYTES), kind, number };
        listener.read_head().await?;
        Ok(listener)
    }

    async fn read_head(&mut self) -> Outcome {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                let wanted = match self.kind {
                    Kind::Stream => "HTTP/1.1 200",
                    Kind::Socket => "HTTP/1.1 101",
                };
                self.buffer.drain(..end + 4);
                return if head.starts_with(wanted) { Ok(()) } else { Err(format!("a listener was refused: {head}")) };
            }
            if self.buffer.len() > MAX_HEAD_BYTES || !self.fill().await? {
                return Err("a listener's answer has no end of its head".to_owned());
            }
        }
    }

    /// Whether something came; not at the end.
    async fn fill(&mut self) -> Outcome<bool> {
        self.buffer.reserve(PIECE_BYTES);
        let read = self.stream.read_buf(&mut self.buffer).await;
        read.map(|read| read > 0).map_err(|error| format!("a listener broke off: {error}"))
    }

    /// Notes events until the server ends it.
    pub async fn follow(mut self, receipts: Receipts) -> Outcome {
        loop {
            match self.kind {
                Kind::Stream => {
                    let used = note_all(&self.buffer, self.number, &receipts);
                    self.buffer.drain(..used);
                }
                Kind::Socket => self.take_frames(&receipts).await?,
            }
            if !self.fill().await? {
                return Ok(());
            }
        }
    }

    /// Waits, without reading a byte, until the kernel has nothing more of it on the server's side; how long that took.
    /// To read would let the server go on.
    pub async fn until_dropped(self) -> Outcome<Duration> {
        let failed = |error: std::io::Error| format!("a listener that reads nothing: {error}");
        let ports = (self.stream.peer_addr().map_err(failed)?.port(), self.stream.local_addr().map_err(failed)?.port());
        let began = Instant::now();
        while has_socket(ports)? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(began.elapsed())
    }

    async fn take_frames(&mut self, receipts: &Receipts) -> Outcome {
        let mut used = 0;
        while let Some(frame) = parse_frame(&self.buffer[used..])? {
            let payload = &self.buffer[used + frame.head..used + frame.whole];
            match frame.code {
                // A text holds one event at most.
                0x1 => drop(note_all(payload, self.number, receipts)),
                0x9 => {
                    // Masked with zeros, which change nothing.
                    let length = u8::try_from(payload.len()).unwrap_or(0) & 0x7f;
                    let pong = [&[0x8a, 0x80 | length, 0, 0, 0, 0], payload].concat();
                    let answered = self.stream.write_all(&pong).await;
                    answered.map_err(|error| format!("a ping could not be answered: {error}"))?;
                }
                0x8 => return Err(format!("a socket was closed: {:?}", String::from_utf8_lossy(payload))),
                code => return Err(format!("a socket was sent a frame of kind {code}")),
            }
            used += frame.whole;
        }
        self.buffer.drain(..used);
        Ok(())
    }
}

/// Whether there is a connection over IPv4 with these ports, the own one first, in whatever state.
fn has_socket(ports: (u16, u16)) -> Outcome<bool> {
    let table = std::fs::read_to_string(SOCKETS).map_err(|error| format!("{SOCKETS}: {error}"))?;
    let port = |address: &str| u16::from_str_radix(address.split_once(':')?.1, 16).ok();
    Ok(table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        (words.next().and_then(port), words.next().and_then(port)) == (Some(ports.0), Some(ports.1))
    }))
}

/// Where a frame's payload begins and where it ends.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    code: u8,
    head: usize,
    whole: usize,
}

/// The first frame, if all of it is there. Servers mask nothing, and ours sends no message in parts.
fn parse_frame(bytes: &[u8]) -> Outcome<Option<Frame>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (head, length) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            (10, usize::try_from(length).unwrap_or(usize::MAX))
        }
        (126 | 127, _) => return Ok(None),
        (length, _) => (2, usize::from(length)),
    };
    if length > MAX_FRAME_BYTES {
        return Err(format!("a frame of {length} bytes"));
    }
    let frame = Frame { code: first & 0x0f, head, whole: head + length };
    Ok((bytes.len() >= frame.whole).then_some(frame))
}

/// Notes the events whose ids are there; how many bytes need not be looked at again.
fn note_all(bytes: &[u8], listener: u32, receipts: &Receipts) -> usize {
    let (mut used, at_us) = (0, now_us());
    while let Some(place) = bytes[used..].windows(MARK.len()).position(|window| window == MARK) {
        let begin = used + place + MARK.len();
        let Some(end) = bytes[begin..].iter().take(JOB_DIGITS + MAX_NUMBER_DIGITS + 2).position(|byte| *byte == b'"')
        else {
            return used + place;
        };
        let id = std::str::from_utf8(&bytes[begin..begin + end]).ok().and_then(|id| id.split_once('_'));
        let parsed = id.and_then(|(job, number)| Some((u128::from_str_radix(job, 16).ok()?, number.parse().ok()?)));
        if let Some((job, number)) = parsed {
            receipts.note(Receipt { listener, job, number, at_us });
        }
        used = begin + end;
    }
    // The mark itself may be cut in two.
    used.max(bytes.len().saturating_sub(MARK.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(receipts: &Receipts) -> Vec<(u128, u32)> {
        receipts.take().iter().map(|receipt| (receipt.job, receipt.number)).collect()
    }

    #[test]
    fn events_are_noted_wherever_the_pieces_end() {
        let text = br#"data: {"object":"event","id":"evt_video_000000000000000000000000000000ff_12","x":1} "id":"evt_video_00000000000000000000000000000001_3""#;
        for cut in 0..text.len() {
            let receipts = Receipts::default();
            let mut buffer = text[..cut].to_vec();
            buffer.drain(..note_all(&buffer, 0, &receipts));
            buffer.extend_from_slice(&text[cut..]);
            note_all(&buffer, 0, &receipts);
            assert_eq!(noted(&receipts), [(255, 12), (1, 3)], "cut at {cut}");
        }
    }

    #[test]
    fn frames_of_all_lengths_are_found() {
        for (length, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut bytes = match head {
                2 => vec![0x81, length as u8],
                4 => [&[0x81, 126][..], &(length as u16).to_be_bytes()].concat(),
                _ => [&[0x81, 127][..], &(length as u64).to_be_bytes()].concat(),
            };
            bytes.resize(head + length, b'x');
            assert_eq!(parse_frame(&bytes), Ok(Some(Frame { code: 1, head, whole: head + length })));
            assert_eq!(parse_frame(&bytes[..bytes.len() - 1]), Ok(None));
        }
        assert!(parse_frame(&[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
