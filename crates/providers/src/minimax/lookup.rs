//! Finding a lost create in the list of the second wire. Its items have no prompt: what fits is adopted only where it
//! is the only unclaimed one, and the engine sees to that.

use longtake_core::id::ProviderJobId;
use longtake_core::provider::Found;
use longtake_core::time::Timestamp;

use super::options::Wanted;
use super::wire::{Listed, Task, id_text};

/// Tasks asked for per page.
pub(super) const PAGE_SIZE: usize = 100;
/// Most pages read in one look-up: a tenth of what the vendor allows per minute.
pub(super) const MAX_PAGES: usize = 30;
/// The order of the list is not documented: it is trusted after so many tasks in order.
const TRUSTED_AFTER: usize = 20;
/// The list's times are whole seconds.
const MARGIN_SECS: i64 = 1;

/// One look-up, page by page.
pub struct Search<'a> {
    model: &'a str,
    wanted: &'a Wanted,
    seconds: u32,
    since_secs: i64,
    candidates: Vec<ProviderJobId>,
    seen: usize,
    newest_first: bool,
    last_created: i64,
    doubt: bool,
}

/// What to do after a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask for the next page.
    More,
    /// The list was covered as far as it matters.
    Covered,
    /// It was not, and there is no more to ask.
    Unclear,
}

impl<'a> Search<'a> {
    /// Nothing read yet.
    pub fn new(model: &'a str, wanted: &'a Wanted, seconds: u32, since: Timestamp) -> Self {
        Self {
            model,
            wanted,
            seconds,
            since_secs: since.as_secs() - MARGIN_SECS,
            candidates: Vec::new(),
            seen: 0,
            newest_first: true,
            last_created: i64::MAX,
            doubt: false,
        }
    }

    /// Reads one page.
    pub fn read(&mut self, page: &Listed) -> Next {
        let mut reached_older = false;
        self.seen += page.items.len();
        for task in &page.items {
            let Some(created) = task.created_at else {
                self.doubt = true;
                continue;
            };
            // Documented in seconds; a number this large can only be milliseconds.
            let created = if created > 100_000_000_000 { created / 1_000 } else { created };
            self.newest_first &= created <= self.last_created;
            self.last_created = created;
            if created < self.since_secs {
                reached_older = true;
            } else {
                self.compare(task);
            }
        }
        match page.total.map(|total| usize::try_from(total).unwrap_or(usize::MAX)) {
            Some(total) if self.seen >= total => Next::Covered,
            _ if reached_older && self.newest_first && self.seen >= TRUSTED_AFTER => Next::Covered,
            _ if !page.items.is_empty() => Next::More,
            // An empty page: the end, unless the vendor counts more than it shows.
            None => Next::Covered,
            Some(_) => Next::Unclear,
        }
    }

    fn compare(&mut self, task: &Task) {
        let other_kind = task.task_type.as_deref().is_some_and(|kind| kind != "generation");
        let other_model = task.model.as_deref().is_some_and(|model| model != self.model);
        if other_kind || other_model {
            return;
        }
        let differs =
            |listed: Option<&str>, ours: &str| listed.is_some_and(|listed| !listed.is_empty() && listed != ours);
        let other_shape = differs(task.resolution.as_deref(), self.wanted.resolution)
            || self.wanted.ratio.is_some_and(|ratio| differs(task.ratio.as_deref(), ratio))
            || task.duration.is_some_and(|duration| duration != i64::from(self.seconds));
        if other_shape {
            return;
        }
        match id_text(task.id.as_ref()).and_then(|id| ProviderJobId::new(&id)) {
            Some(id) => self.candidates.push(id),
            None => self.doubt = true,
        }
    }

    /// The result; `covered` says whether the last page was [`Next::Covered`].
    pub fn finish(self, covered: bool) -> Found {
        Found { candidates: self.candidates, complete: covered && !self.doubt }
    }
}
