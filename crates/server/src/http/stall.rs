//! A socket that gives up on a peer who takes no byte for too long, or never says which HTTP it speaks.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes after which hyper knows the version and watches over reads itself: the preface of HTTP/2.
const OPENING_BYTES: usize = 24;

/// Wraps a stream. A write that makes no progress within its limit fails, and so do the first reads.
#[derive(Debug)]
pub struct StallGuard<S> {
    stream: S,
    limit: Duration,
    /// Asked of the stream whose write has failed so.
    give_up: fn(&S),
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    opening: Pin<Box<Sleep>>,
    received: usize,
}

impl<S> StallGuard<S> {
    /// Guards a stream: `opening` bounds the time to its first bytes, `limit` each write. `give_up` is asked of a stream
    /// whose write took longer, before its owner drops it.
    pub fn new(stream: S, opening: Duration, limit: Duration, give_up: fn(&S)) -> Self {
        let sleep = |time| Box::pin(tokio::time::sleep_until(Instant::now() + time));
        Self { stream, limit, give_up, timer: sleep(limit), waiting: false, opening: sleep(opening), received: 0 }
    }

    /// Passes progress on; while there is none, the timer runs.
    fn guarded<T>(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.waiting = false;
            return progress;
        }
        if !std::mem::replace(&mut self.waiting, true) {
            let limit = self.limit;
            self.timer.as_mut().reset(Instant::now() + limit);
        }
        ready!(self.timer.as_mut().poll(context));
        (self.give_up)(&self.stream);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let progress = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.received < OPENING_BYTES {
            self.received += buffer.filled().len() - before;
            if progress.is_pending() {
                ready!(self.opening.as_mut().poll(context));
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer says nothing")));
            }
        }
        progress
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.guarded(context, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(context);
        self.guarded(context, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(context);
        self.guarded(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.guarded(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_peer_who_takes_nothing_is_given_up() {
        let (stream, _peer) = tokio::io::duplex(16);
        let mut guard = StallGuard::new(stream, Duration::from_secs(60), Duration::from_millis(20), |_| {});
        let error = guard.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_who_says_too_little_is_given_up() {
        let (stream, mut peer) = tokio::io::duplex(64);
        peer.write_all(b"PRI").await.unwrap();
        let mut guard = StallGuard::new(stream, Duration::from_millis(20), Duration::from_secs(60), |_| {});
        let error = guard.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
