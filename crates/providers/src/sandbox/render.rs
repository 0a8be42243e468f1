//! Rendering in the background: a few at a time, each on a blocking thread, begun anew after a restart.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use longtake_core::time::Clock;
use longtake_media::{RenderError, TitleCard, decode_picture, render_title_card};
use tokio::sync::Semaphore;

use super::disk::{Entry, Folder};
use super::script::Script;

/// Videos rendered at once.
const MAX_AT_ONCE: usize = 2;

/// One rendering under way.
#[derive(Debug, Default)]
pub(super) struct Rendering {
    /// Thousandths done.
    done: AtomicU32,
    stop: AtomicBool,
    /// Why it will never be done.
    failed: Mutex<Option<String>>,
}

impl Rendering {
    /// How far it is, 0 to 1.
    pub(super) fn share(&self) -> f64 {
        f64::from(self.done.load(Ordering::Relaxed)) / 1_000.0
    }

    /// Why it failed, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All renderings of this process. What it holds is only progress; the videos are on disk.
pub(super) struct Renderings {
    folder: Arc<Folder>,
    clock: Arc<dyn Clock>,
    permits: Arc<Semaphore>,
    under_way: Mutex<HashMap<String, Arc<Rendering>>>,
    /// Held while what is kept of a job is read and written again.
    changing: Mutex<()>,
}

impl Renderings {
    pub(super) fn new(folder: Arc<Folder>, clock: Arc<dyn Clock>) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_AT_ONCE));
        Self { folder, clock, permits, under_way: Mutex::new(HashMap::new()), changing: Mutex::new(()) }
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Rendering>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rendering of a job, begun if it is not under way.
    pub(super) fn of(self: &Arc<Self>, name: &str, entry: &Entry) -> Arc<Rendering> {
        let mut under_way = self.under_way();
        if let Some(rendering) = under_way.get(name) {
            return Arc::clone(rendering);
        }
        let rendering = Arc::new(Rendering::default());
        under_way.insert(name.to_owned(), Arc::clone(&rendering));
        drop(under_way);
        let (all, name, entry) = (Arc::clone(self), name.to_owned(), entry.clone());
        let current = Arc::clone(&rendering);
        tokio::spawn(async move {
            let Ok(_permit) = Arc::clone(&all.permits).acquire_owned().await else { return };
            let worker = (Arc::clone(&all), name.clone(), Arc::clone(&current));
            let rendered = tokio::task::spawn_blocking(move || worker.0.render(&worker.1, &entry, &worker.2)).await;
            match rendered.map_err(io::Error::other).and_then(|result| result) {
                Ok(()) => {
                    all.under_way().remove(&name);
                }
                Err(error) => {
                    tracing::warn!(provider_job = %name, error = %error, "the sandbox could not render {name}: {error}");
                    // It stays in the map: asking again would fail again.
                    *current.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                }
            }
        });
        rendering
    }

    /// Stops a rendering and forgets it.
    pub(super) fn stop(&self, name: &str) {
        if let Some(rendering) = self.under_way().remove(name) {
            rendering.stop.store(true, Ordering::Relaxed);
        }
    }

    fn render(&self, name: &str, entry: &Entry, rendering: &Rendering) -> io::Result<()> {
        if self.folder.video(name).is_file() {
            // A poll looked just before the last rendering ended.
            return Ok(());
        }
        let script = Script::parse(&entry.prompt).map_err(io::Error::other)?;
        let background = match entry.has_input {
            true => Some(decode_picture(&self.folder.input(name)?).map_err(io::Error::other)?),
            false => None,
        };
        let card = TitleCard {
            title: &script.title,
            width: entry.width,
            height: entry.height,
            fps: entry.fps,
            seconds: entry.seconds,
            seed: seed_of(&entry.job),
            background: background.as_ref(),
        };
        let rendered = render_title_card(&card, &mut |frames, total| {
            rendering.done.store(frames.saturating_mul(1_000) / total.max(1), Ordering::Relaxed);
            !rendering.stop.load(Ordering::Relaxed)
        });
        let bytes = match rendered {
            Ok(bytes) => bytes,
            Err(RenderError::Stopped) => return Ok(()),
            Err(error) => return Err(io::Error::other(error)),
        };
        self.folder.put_video(name, &bytes)?;
        let now = self.clock.now().as_micros();
        self.change(name, |entry| entry.rendered_at = Some(now)).map(|_| ())
    }

    /// Changes what is kept of a job, one change at a time.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Entry)) -> io::Result<Option<Entry>> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut entry) = self.folder.load(name)? else { return Ok(None) };
        change(&mut entry);
        self.folder.save(name, &entry)?;
        Ok(Some(entry))
    }
}

/// The same video looks the same in each attempt: FNV-1a of its id.
fn seed_of(job: &str) -> u64 {
    job.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
