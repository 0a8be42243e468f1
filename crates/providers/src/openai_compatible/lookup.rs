//! Finding a lost submission in the server's list: by prompt, model, size, seconds and time of creation.
//!
//! Two different questions: which videos could be it (all fields equal), and whether its absence is proved. The second
//! is answered no wherever a server's list leaves room for doubt: it hides prompts, is unordered, ends too early, or
//! shows the same prompt with other parameters (a server may have changed what was asked for).

use longtake_core::id::ProviderJobId;
use longtake_core::provider::{FindRequest, Found};

use super::answers::video_id;
use super::wire::{Page, Video, text, whole};

/// Videos asked for per page.
pub(super) const PAGE_LIMIT: usize = 100;
/// Most pages read in one look-up.
pub(super) const MAX_PAGES: usize = 50;
/// The list's times are whole seconds.
const MARGIN_SECS: i64 = 1;

/// One look-up, page by page, newest first.
pub struct Search<'a> {
    request: &'a FindRequest,
    since_secs: i64,
    candidates: Vec<ProviderJobId>,
    newest_first: bool,
    last_created: i64,
    doubt: bool,
    hidden: bool,
}

/// What to do after a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask for the page after this id.
    After(String),
    /// The list was covered as far as it matters.
    Covered,
    /// It was not, and there is no more to ask.
    Unclear,
}

impl<'a> Search<'a> {
    /// Nothing read yet.
    pub fn new(request: &'a FindRequest) -> Self {
        Self {
            request,
            since_secs: request.since.as_secs() - MARGIN_SECS,
            candidates: Vec::new(),
            newest_first: true,
            last_created: i64::MAX,
            doubt: false,
            hidden: false,
        }
    }

    /// Reads one page.
    pub fn read(&mut self, page: &Page) -> Next {
        let mut reached_older = false;
        for video in &page.data {
            let created = whole(video.created_at.as_ref());
            if let Some(created) = created {
                self.newest_first &= created <= self.last_created;
                self.last_created = created;
                if created < self.since_secs {
                    reached_older = true;
                    continue;
                }
            }
            self.compare(video);
        }
        if reached_older && self.newest_first {
            return Next::Covered;
        }
        let last = page.last_id.clone().filter(|id| !id.is_empty());
        let last = last.or_else(|| page.data.last().and_then(|video| text(video.id.as_ref())).map(str::to_owned));
        match (page.has_more, last) {
            (Some(false), _) => Next::Covered,
            (Some(true), Some(last)) if !page.data.is_empty() => Next::After(last),
            _ => Next::Unclear,
        }
    }

    fn compare(&mut self, video: &Video) {
        let Some(prompt) = text(video.prompt.as_ref()) else {
            // Without its prompt it could be ours or anybody's.
            self.hidden = true;
            return;
        };
        let wanted = &self.request.request;
        if prompt != &*wanted.prompt || self.is_of_another_kind(video) {
            return;
        }
        let same = self.same_model(video)
            && text(video.size.as_ref()).is_none_or(|size| size == wanted.size.to_string())
            && whole(video.seconds.as_ref()).is_none_or(|seconds| seconds == i64::from(wanted.seconds));
        match video_id(video) {
            Some(id) if same => self.candidates.push(id),
            _ => self.doubt = true,
        }
    }

    /// A remix where none was asked for, none where one was, or one of another video. Where the server does not say, it
    /// may be ours.
    fn is_of_another_kind(&self, video: &Video) -> bool {
        let ours = self.request.request.source.as_ref().and_then(|source| source.provider_job.as_ref());
        match &video.remixed_from_video_id {
            None => false,
            Some(told) => text(Some(told)) != ours.map(ProviderJobId::as_str),
        }
    }

    /// `sora-2` may be listed as `sora-2-2025-12-08`.
    fn same_model(&self, video: &Video) -> bool {
        let wanted: &str = &self.request.model;
        text(video.model.as_ref()).is_none_or(|model| {
            model == wanted || model.strip_prefix(wanted).is_some_and(|rest| rest.starts_with("-20"))
        })
    }

    /// The result; `covered` says whether the last page was [`Next::Covered`].
    pub fn finish(self, covered: bool) -> Found {
        let candidates = if self.hidden { Vec::new() } else { self.candidates };
        Found { candidates, complete: covered && !self.doubt && !self.hidden }
    }
}
