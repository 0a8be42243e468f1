//! The exclusive right to work on a data directory, held until the process ends.
//!
//! `flock` on `DIR/lock`: the kernel gives it up with the process, however that dies, so a lock that is held is also the
//! proof that every earlier holder sends no more (rule R7c). The file carries a note by which others name the holder.
//! Absent: network file systems, which are refused: there neither the lock nor SQLite's WAL can be trusted.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Longest note that is read, in bytes.
const MAX_NOTE_BYTES: u64 = 4_096;

/// The right to work on a data directory. Dropping it gives it up.
#[derive(Debug)]
pub struct DataDirLock {
    file: File,
}

/// The right was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the data directory is in use by another process: {note}")]
    Held {
        /// What the holder wrote about itself.
        note: String,
    },
    /// Locks and memory maps of other machines are not ours.
    #[error("the data directory lies on a network file system ({kind}), where SQLite loses data; choose a local disk")]
    NetworkFileSystem {
        /// Which.
        kind: &'static str,
    },
    /// The directory or its lock file cannot be used.
    #[error("the data directory cannot be used: {0}")]
    Io(#[from] std::io::Error),
}

impl DataDirLock {
    /// Takes the right, making the directory where it is missing; does not wait.
    ///
    /// # Errors
    /// `Held` with the holder's note; `NetworkFileSystem`; `Io`.
    pub fn acquire(directory: &Path, note: &str) -> Result<Self, LockError> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        refuse_network(directory)?;
        let path = directory.join("lock");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut note = String::new();
                // A note that cannot be read is no reason to say something else.
                drop((&mut file).take(MAX_NOTE_BYTES).read_to_string(&mut note));
                return Err(LockError::Held { note });
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        let lock = Self { file };
        lock.write_note(note)?;
        Ok(lock)
    }

    /// Replaces what others read about us.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_note(&self, note: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(note.as_bytes(), 0)
    }
}

/// FUSE is allowed: it says nothing about where the bytes lie.
#[cfg(target_os = "linux")]
fn refuse_network(directory: &Path) -> Result<(), LockError> {
    // Source: statfs(2) and linux/magic.h.
    const NETWORK: [(i64, &str); 7] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x0102_1997, "9p"),
        (0x00c3_6400, "Ceph"),
        (0x5346_414f, "AFS"),
    ];
    let magic = rustix::fs::statfs(directory).map_err(std::io::Error::from)?.f_type;
    // The field's width and sign differ between architectures; the magic has 32 bits.
    match NETWORK.iter().find(|(known, _)| *known == (magic & 0xffff_ffff)) {
        Some((_, kind)) => Err(LockError::NetworkFileSystem { kind }),
        None => Ok(()),
    }
}

/// Elsewhere the kind is not numbered.
#[cfg(not(target_os = "linux"))]
fn refuse_network(_directory: &Path) -> Result<(), LockError> {
    Ok(())
}
