//! Reading across jobs: events in the order of their commits, which here is also the order in which they become visible.

use super::content::Content;
use crate::feed::{FeedCursor, FeedEvent, FeedPage, Tail};
use crate::id::ProjectId;
use crate::store::StoreError;

/// The one history a store in memory has.
const EPOCH: u64 = 1;

impl Content {
    /// Behind the last event.
    fn newest(&self) -> FeedCursor {
        cursor(self.feed.len())
    }

    fn feed_event(&self, place: usize) -> Option<FeedEvent> {
        let (job, ver) = (*self.feed.get(place)?)?;
        let events = self.events.get(&job)?;
        let event = events.iter().find(|event| event.ver == ver)?.clone();
        Some(FeedEvent { project: self.jobs.get(&job)?.record.project, event })
    }

    pub fn feed_page(
        &self,
        project: Option<ProjectId>,
        after: Option<FeedCursor>,
        limit: usize,
    ) -> Result<FeedPage, StoreError> {
        let Some(after) = after else {
            return Ok(FeedPage { events: Vec::new(), next: self.newest(), caught_up: true });
        };
        let start = self.place(after)?;
        if start < self.floor(project) {
            return Err(StoreError::CursorExpired);
        }
        let mut page = FeedPage { events: Vec::new(), next: after, caught_up: true };
        let limit = limit.clamp(1, FeedPage::MAX_EVENTS);
        for place in start..self.feed.len() {
            if page.events.len() >= limit || place - start >= FeedPage::MAX_SCAN {
                page.caught_up = false;
                break;
            }
            page.next = cursor(place + 1);
            let event = self.feed_event(place).filter(|event| project.is_none_or(|project| event.project == project));
            page.events.extend(event.map(|event| (page.next, event)));
        }
        Ok(page)
    }

    pub fn tail_after(&self, after: Option<&Tail>) -> Result<(Vec<FeedEvent>, Tail), StoreError> {
        let start = after.map_or(Ok(self.feed.len()), |tail| self.place(tail.mark))?;
        let events = (start..self.feed.len()).filter_map(|place| self.feed_event(place)).collect();
        let mark = self.newest();
        Ok((events, Tail { token: "".into(), mark }))
    }

    /// Before it events of the project, or of any, were removed.
    fn floor(&self, project: Option<ProjectId>) -> usize {
        let floors = self.feed_floors.iter().filter(|(of, _)| project.is_none_or(|project| project == **of));
        floors.map(|(_, floor)| *floor).max().unwrap_or(0)
    }

    fn place(&self, cursor: FeedCursor) -> Result<usize, StoreError> {
        let known = cursor.epoch == EPOCH && cursor.xid == 0;
        usize::try_from(cursor.seq).ok().filter(|place| known && *place <= self.feed.len()).ok_or(StoreError::Cursor)
    }
}

fn cursor(place: usize) -> FeedCursor {
    FeedCursor { epoch: EPOCH, xid: 0, seq: u64::try_from(place).unwrap_or(u64::MAX) }
}
