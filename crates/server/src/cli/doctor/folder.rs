//! Rights, room and speed of the data directory, or of the folder that it would be made in.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use longtake_core::time::Clock;

use super::place::{Place, State, is_missing};
use super::{Finding, Report};
use crate::clock::SystemClock;
use crate::config::Config;

/// Less free room than this is worth a word, in bytes.
const LOW_ROOM_BYTES: u64 = 2 << 30;
/// Slower syncs than this make accepting videos slow.
const SLOW_SYNC: Duration = Duration::from_millis(50);
/// Syncs measured.
const SYNCS: usize = 15;

/// A data directory that is not there is not made: its disk is that of the nearest folder above it.
pub(super) fn check(config: &Config, place: &Place, report: &mut Report) {
    let path = &config.general.data_dir;
    let shown = path.display();
    let missing = format!("{shown} is not there; the first `longtake serve` makes it");
    report.add(
        "data directory",
        match place.folder {
            State::Missing if config.data_dir_was_named => {
                Finding::Bad(format!("{missing}; correct --data-dir if there is one already"))
            }
            State::Missing => Finding::Doubtful(missing),
            State::Empty => Finding::Doubtful(format!(
                "{shown} is empty; the first `longtake serve` fills it; mount what belongs there if there is an installation already"
            )),
            State::There => rights(path),
        },
    );
    let path = &nearest(path);
    report.add("disk room", room(config, path));
    report.add("disk sync", sync(path));
}

fn rights(path: &Path) -> Finding {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & 0o022 != 0 => {
            Finding::Bad(format!("others can write to {shown}; run chmod 700 {shown}"))
        }
        Ok(metadata) if metadata.uid() != rustix::process::geteuid().as_raw() => {
            Finding::Doubtful(format!("{shown} belongs to user {}, not to us", metadata.uid()))
        }
        Ok(metadata) if metadata.permissions().mode() & 0o044 != 0 => {
            Finding::Doubtful(format!("others can read {shown}; run chmod 700 {shown} if they should not"))
        }
        Ok(_) => Finding::Good(shown.to_string()),
        Err(error) => Finding::Bad(format!("{shown}: {error}; choose another with --data-dir")),
    }
}

fn room(config: &Config, path: &Path) -> Finding {
    match rustix::fs::statvfs(path) {
        Ok(room) => {
            let free = room.f_bavail.saturating_mul(room.f_frsize);
            let text = format!("{} MiB free", free >> 20);
            match free {
                free if free < config.limits.low_water_bytes => Finding::Bad(format!(
                    "{text}: new videos are refused; make room, or lower [limits] low_water_bytes"
                )),
                free if free < LOW_ROOM_BYTES => Finding::Doubtful(format!("{text}; make room soon")),
                _ => Finding::Good(text),
            }
        }
        Err(error) => Finding::Doubtful(format!("cannot be told: {error}")),
    }
}

fn sync(path: &Path) -> Finding {
    match sync_time(path) {
        Ok(median) if median > SLOW_SYNC => Finding::Doubtful(format!(
            "{:.1} ms for one sync: every accepted video waits for one; use a faster disk",
            median.as_secs_f64() * 1_000.0
        )),
        Ok(median) => {
            Finding::Good(format!("{:.2} ms for one sync (median of {SYNCS})", median.as_secs_f64() * 1_000.0))
        }
        Err(error) => Finding::Bad(format!(
            "{} cannot be written and synced: {error}; check its owner, its mode and the disk",
            path.display()
        )),
    }
}

/// The median time of a small durable write.
fn sync_time(folder: &Path) -> std::io::Result<Duration> {
    let (mut file, path) = test_file(folder)?;
    let mut times = Vec::with_capacity(SYNCS);
    let measured = (0..SYNCS).try_for_each(|_| {
        let began = SystemClock.monotonic();
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
        times.push(SystemClock.monotonic().saturating_sub(began));
        Ok(())
    });
    std::fs::remove_file(&path)?;
    measured.map(|()| {
        times.sort_unstable();
        times.get(SYNCS / 2).copied().unwrap_or_default()
    })
}

fn test_file(folder: &Path) -> std::io::Result<(File, PathBuf)> {
    let path = folder.join(".doctor");
    Ok((OpenOptions::new().write(true).create(true).truncate(true).open(&path)?, path))
}

/// Whether this folder, or the nearest above it that is there, lets us make something.
///
/// # Errors
/// Why it does not.
pub(super) fn can_make(path: &Path) -> std::io::Result<()> {
    let (_, path) = test_file(&nearest(path))?;
    std::fs::remove_file(path)
}

/// Removes the folders that were made for an object, where they are empty again.
pub(super) fn remove_empty(store: &Path, key: &str) {
    for folder in Path::new(key).ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        // One that is not empty is somebody's.
        drop(std::fs::remove_dir(store.join(folder)));
    }
}

/// This folder, else the nearest above it that is there.
fn nearest(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|folder| !folder.as_os_str().is_empty() && !is_missing(folder));
    found.unwrap_or(Path::new(".")).to_path_buf()
}
