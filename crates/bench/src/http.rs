//! A small HTTP/1.1 client that keeps its connection: cheap, so that the load does not dominate what is measured.
//!
//! Knows `Content-Length` only; every server measured here sends it. Used alike for ours and for the peers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;

/// Longest wait for one answer.
const ANSWER_BOUND: Duration = Duration::from_secs(120);
/// Longest head of an answer.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// One kept connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer whose body was read.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body of a 200; else an error that shows it.
    pub fn good(self, what: &str) -> Outcome<Vec<u8>> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        Err(format!("{what} was answered with {}: {}", self.status, self.text()))
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { stream, buffer: Vec::with_capacity(PIECE_BYTES) })
    }

    /// Sends a whole request and reads the whole answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Outcome<Answer> {
        let exchange = async {
            let (status, length) = self.head(request).await?;
            let mut body = Vec::with_capacity(length);
            while body.len() < length {
                self.fill_if_empty().await?;
                let take = (length - body.len()).min(self.buffer.len());
                body.extend(self.buffer.drain(..take));
            }
            Ok(Answer { status, body })
        };
        bounded(exchange).await
    }

    /// Sends a request and throws the body away; its length. For bodies larger than memory.
    pub async fn drain(&mut self, request: &[u8], bound: Duration) -> Outcome<u64> {
        let exchange = async {
            let (status, length) = self.head(request).await?;
            if status != 200 {
                return Err(format!("the download was answered with {status}"));
            }
            let mut left = length - self.buffer.len().min(length);
            self.buffer.clear();
            while left > 0 {
                self.buffer.clear();
                self.fill_if_empty().await?;
                left -= self.buffer.len().min(left);
            }
            self.buffer.clear();
            Ok(length as u64)
        };
        tokio::time::timeout(bound, exchange).await.map_err(|_| format!("a download took more than {bound:?}"))?
    }

    /// Sends, and reads up to the body.
    async fn head(&mut self, request: &[u8]) -> Outcome<(u16, usize)> {
        self.stream.write_all(request).await.map_err(|error| format!("a request could not be sent: {error}"))?;
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.buffer[..end]).map_err(|_| "an answer's head is no text")?;
                let parsed = parse_head(head)?;
                self.buffer.drain(..end + 4);
                return Ok(parsed);
            }
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err("an answer's head has no end".to_owned());
            }
            self.fill().await?;
        }
    }

    async fn fill_if_empty(&mut self) -> Outcome {
        if self.buffer.is_empty() { self.fill().await } else { Ok(()) }
    }

    async fn fill(&mut self) -> Outcome {
        self.buffer.reserve(PIECE_BYTES);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("an answer could not be read: {error}")),
        }
    }
}

async fn bounded<T>(exchange: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let answer = tokio::time::timeout(ANSWER_BOUND, exchange).await;
    answer.map_err(|_| format!("no answer within {ANSWER_BOUND:?}"))?
}

/// Status and length of the body.
fn parse_head(head: &str) -> Outcome<(u16, usize)> {
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| format!("no status in {head:?}"))?;
    let mut length = 0;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| format!("no length in {value:?}"))?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("an answer came in chunks, which this client does not read".to_owned());
        }
    }
    Ok((status, length))
}

/// A request without a body.
pub fn get(address: SocketAddr, path: &str, key: Option<&str>) -> Vec<u8> {
    let authorization = key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{authorization}\r\n").into_bytes()
}

/// A request with a JSON body.
pub fn send_json(method: &str, address: SocketAddr, path: &str, key: Option<&str>, body: &str) -> Vec<u8> {
    let authorization = key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{authorization}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::parse_head;

    #[test]
    fn heads_are_read_and_chunks_are_refused() {
        assert_eq!(parse_head("HTTP/1.1 200 OK\r\nContent-Length: 12\r\nx: y"), Ok((200, 12)));
        assert_eq!(parse_head("HTTP/1.1 204 No Content"), Ok((204, 0)));
        assert!(parse_head("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked").is_err());
        assert!(parse_head("nonsense").is_err());
    }
}
