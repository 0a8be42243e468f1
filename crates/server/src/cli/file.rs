//! The file a video is saved to: tried before anything is paid, written beside its place, renamed when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use longtake_core::id::Random;
use longtake_media::ReadAt;

use super::CliError;
use crate::clock::OsRandom;

/// A place for a file, held open.
pub(crate) struct Target {
    file: File,
    /// The unfinished file; `None` where the place itself is written to, such as a device.
    unfinished: Option<PathBuf>,
    place: Place,
}

/// Where the file belongs.
enum Place {
    /// To this path, whatever is there.
    Named(PathBuf),
    /// Into this folder, under a name that is known later; nothing is overwritten.
    Folder(PathBuf),
}

impl Target {
    /// Makes sure that a file can be written: to `output`, else into the working folder.
    pub(crate) fn prepare(output: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = output else { return Self::beside(Path::new("."), Place::Folder(PathBuf::new())) };
        let shown = path.display();
        if path.as_os_str() == "-" {
            return Err(CliError::Usage("-o: a video is not written to standard output; name a file".to_owned()));
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(CliError::Failed(format!(
                    "-o: {shown} is a folder; name a file in it, such as {shown}/video.mp4"
                )));
            }
            // A device or a pipe is written to; replacing it by a file would be a surprise.
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(path).map_err(|error| cannot_write(path, &error))?;
                return Ok(Self { file, unfinished: None, place: Place::Named(path.to_owned()) });
            }
            _ => {}
        }
        // Through a link, to what it names.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if place.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(CliError::Failed(format!("-o: {shown} names no file; add a name such as video.mp4")));
        }
        if place.exists() {
            OpenOptions::new().write(true).open(&place).map_err(|error| cannot_write(path, &error))?;
        }
        let folder =
            place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        Self::beside(&folder, Place::Named(place))
    }

    fn beside(folder: &Path, place: Place) -> Result<Self, CliError> {
        let unfinished = folder.join(format!(".longtake-{:016x}.part", OsRandom.u64()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&unfinished);
        let file = file.map_err(|error| cannot_write(folder, &error))?;
        Ok(Self { file, unfinished: Some(unfinished), place })
    }

    /// Where the file will be, if it is called this where nothing else was said.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match &self.place {
            Place::Named(path) => path.clone(),
            Place::Folder(folder) => folder.join(name),
        }
    }

    /// Refuses to overwrite what nobody named.
    pub(crate) fn check_free(&self, name: &str) -> Result<(), CliError> {
        let path = self.path(name);
        if matches!(self.place, Place::Folder(_)) && path.exists() {
            return Err(CliError::Failed(format!(
                "{} is there already; name another file with -o, or this one to replace it",
                path.display()
            )));
        }
        Ok(())
    }

    /// Whether what was written can be thrown away and written again.
    pub(crate) const fn can_restart(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file.write_all(bytes).map_err(|error| self.broken(&error))
    }

    /// Begins again.
    pub(crate) fn restart(&mut self) -> Result<(), CliError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(|_| ()).map_err(|error| self.broken(&error))
    }

    /// Makes the file durable and puts it into its place.
    pub(crate) fn finish(mut self, name: &str) -> Result<PathBuf, CliError> {
        let path = self.path(name);
        let Some(unfinished) = self.unfinished.clone() else { return Ok(path) };
        self.file.sync_all().map_err(|error| self.broken(&error))?;
        self.check_free(name)?;
        fs::rename(&unfinished, &path).map_err(|error| cannot_write(&path, &error))?;
        self.unfinished = None;
        Ok(path)
    }

    fn broken(&self, error: &io::Error) -> CliError {
        let place = match &self.place {
            Place::Named(path) => path.display().to_string(),
            Place::Folder(_) => "the working folder".to_owned(),
        };
        CliError::Failed(match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                format!("{place}: the disk is full; make room, then fetch the video again: it is safe")
            }
            _ => format!("{place}: {error}; the video is safe, fetch it again"),
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished
            && let Err(error) = fs::remove_file(unfinished)
        {
            tracing::debug!(%error, "an unfinished file stays behind");
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> CliError {
    let problem = match error.kind() {
        ErrorKind::NotFound => "the folder does not exist; make it first".to_owned(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => format!("{error}; choose another place with -o"),
        ErrorKind::StorageFull => "the disk is full; make room or choose another place with -o".to_owned(),
        _ => format!("cannot be written: {error}; choose another place with -o"),
    };
    CliError::Failed(format!("{}: {problem}", path.display()))
}

/// A file for the look into it.
pub(crate) struct FileAt {
    file: File,
    length: u64,
}

impl FileAt {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }
}

impl ReadAt for FileAt {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let rest = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(rest)];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}
