//! Looks into stored videos: the parser runs on a blocking thread and asks for pieces, this side reads them.

use std::cell::RefCell;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use longtake_core::artifact::{ArtifactError, ArtifactKey, ArtifactStore, MediaInfo, MediaProbe, ProbeError};
use longtake_media::ReadAt;
use tokio::sync::{mpsc, oneshot};

/// Least bytes read at once: box headers lie close together in fragmented files.
const READ_AHEAD_BYTES: u64 = 64 << 10;

/// A piece that the parser needs, and where it waits for it.
struct Piece {
    range: std::ops::Range<u64>,
    answer: oneshot::Sender<Bytes>,
}

/// The probe over `longtake-media`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mp4Probe;

#[async_trait]
impl MediaProbe for Mp4Probe {
    async fn probe(&self, store: &dyn ArtifactStore, key: &ArtifactKey) -> Result<MediaInfo, ProbeError> {
        let length = store.len(key).await?;
        let (ask, mut asked) = mpsc::channel(1);
        let parser = tokio::task::spawn_blocking(move || {
            longtake_media::probe(&RemoteFile { length, ask, piece: RefCell::default() })
        });
        let mut broken = None;
        while let Some(Piece { range, answer }) = asked.recv().await {
            match store.read(key, range).await {
                // A parser that has given up no longer waits.
                Ok(bytes) => drop(answer.send(bytes)),
                Err(error) => broken = Some(error),
            }
        }
        let told = parser.await;
        if let Some(error) = broken {
            return Err(error.into());
        }
        match told {
            Ok(Ok(info)) => Ok(MediaInfo {
                width: info.width,
                height: info.height,
                duration_ms: info.duration_ms,
                frames: info.frames,
                codec: info.codec.into(),
            }),
            Ok(Err(longtake_media::ProbeError::Read(error))) => Err(ArtifactError::Other(error.into()).into()),
            Ok(Err(error)) => Err(ProbeError::NotPlayable(error.to_string())),
            // The parser panicked on these bytes: it would again, so they are not playable here.
            Err(_) => Err(ProbeError::NotPlayable("its structure cannot be understood".to_owned())),
        }
    }
}

/// The stored file as the parser sees it.
struct RemoteFile {
    length: u64,
    ask: mpsc::Sender<Piece>,
    /// The piece read last: where it starts, and its bytes.
    piece: RefCell<(u64, Bytes)>,
}

impl ReadAt for RemoteFile {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let start = offset.min(self.length);
        let end = start.saturating_add(len as u64).min(self.length);
        let mut piece = self.piece.borrow_mut();
        if start < piece.0 || end > piece.0.saturating_add(piece.1.len() as u64) {
            let range = start..end.max(start.saturating_add(READ_AHEAD_BYTES)).min(self.length);
            let (answer, answered) = oneshot::channel();
            let gone = || io::Error::other("the artifact store did not answer");
            self.ask.blocking_send(Piece { range, answer }).map_err(|_| gone())?;
            *piece = (start, answered.blocking_recv().map_err(|_| gone())?);
        }
        let skip = usize::try_from(start.saturating_sub(piece.0)).unwrap_or(usize::MAX).min(piece.1.len());
        let take = usize::try_from(end - start).unwrap_or(usize::MAX).min(piece.1.len() - skip);
        Ok(piece.1[skip..skip + take].to_vec())
    }
}
