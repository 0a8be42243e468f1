//! Reading across jobs: cursors that miss nothing, and the tail that feeds live listeners.

use std::fmt;
use std::str::FromStr;

use crate::event::JobEvent;
use crate::id::ProjectId;

/// A place in the feed: everything at or below it has been delivered. Opaque to clients.
///
/// `epoch` names the history it belongs to; `xid` and `seq` the place: in PostgreSQL the transaction and the number within,
/// in stores that commit one by one `xid` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedCursor {
    /// The incarnation of the database.
    pub epoch: u64,
    /// The transaction.
    pub xid: u64,
    /// The number of the event.
    pub seq: u64,
}

impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cur_{:x}.{:x}.{:x}", self.epoch, self.xid, self.seq)
    }
}

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: take it from the id of an event of the feed")]
pub struct NotACursor;

impl FromStr for FeedCursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let mut parts = text.strip_prefix("cur_").ok_or(NotACursor)?.split('.');
        let mut next = || {
            let part = parts.next().filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit()));
            part.and_then(|part| u64::from_str_radix(part, 16).ok()).ok_or(NotACursor)
        };
        let cursor = Self { epoch: next()?, xid: next()?, seq: next()? };
        if parts.next().is_some() { Err(NotACursor) } else { Ok(cursor) }
    }
}

/// An event with the project it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEvent {
    /// Whose.
    pub project: ProjectId,
    /// What happened.
    pub event: JobEvent,
}

/// A page of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// In order, each with the cursor behind it.
    pub events: Vec<(FeedCursor, FeedEvent)>,
    /// Behind the whole page: also behind events of other projects that were passed over.
    pub next: FeedCursor,
    /// There was nothing more when it was read.
    pub caught_up: bool,
}

impl FeedPage {
    /// Most events of one page.
    pub const MAX_EVENTS: usize = 1_000;
    /// Events that one page looks at, other projects' among them. Behind them it ends, not caught up.
    pub const MAX_SCAN: usize = 5_000;
}

/// Where a reader of the tail stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The store's own note of what it has told.
    pub token: Box<str>,
    /// Everything at or below it has been told.
    pub mark: FeedCursor,
}

impl Tail {
    /// Most events that one reading of the tail tells. A store that cannot stop in between says `Cursor` beyond.
    pub const MAX_EVENTS: usize = 10_000;

    /// Behind a cursor: what is told next is everything visible that the feed up to there did not give, settled or not.
    pub fn at(cursor: FeedCursor) -> Self {
        Self { token: cursor.to_string().into(), mark: cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        let cursor = FeedCursor { epoch: 7, xid: 0xffee, seq: u64::MAX };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in [
            "",
            "cur_",
            "7",
            "cur_1.2",
            "cur_1.2.3.4",
            "cur_1.2.g",
            "cur_1..3",
            "cur_1.2.+3",
            "cur_1.2.11111111111111111",
        ] {
            assert_eq!(wrong.parse::<FeedCursor>(), Err(NotACursor), "{wrong}");
        }
    }
}
