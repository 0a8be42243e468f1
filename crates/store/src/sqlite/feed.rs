//! The feed: events of all jobs by their number, which is the order of their commits, since there is one writer.

use longtake_core::feed::{FeedCursor, FeedEvent, FeedPage, Tail};
use longtake_core::id::{ProjectId, Random};
use longtake_core::store::StoreError;
use rusqlite::{Connection, Result, Row, params};

use super::{load, sql};
use crate::rows::{corrupt, event_from, job_id, signed};

/// The key of the history's name in `meta`.
const EPOCH: &str = "feed_epoch";
/// The number under which the floor of the whole feed is noted.
const ALL_PROJECTS: i64 = 0;

/// The name of this database's history, made when it is first opened: cursors of another one are refused.
pub(super) fn epoch(connection: &Connection, random: &dyn Random) -> Result<u64> {
    if let Some(text) = load::meta(connection, EPOCH)? {
        return u64::from_str_radix(&text, 16).map_err(corrupt);
    }
    let epoch = random.u64();
    connection.execute(sql::META_SET, [EPOCH, &format!("{epoch:x}")])?;
    Ok(epoch)
}

/// Events behind a cursor, or why it is refused. Without one: nothing, and the cursor of now.
pub(super) fn feed(
    connection: &Connection,
    epoch: u64,
    project: Option<ProjectId>,
    after: Option<FeedCursor>,
    limit: usize,
) -> Result<Result<FeedPage, StoreError>> {
    let last = last(connection)?;
    let Some(after) = after else {
        return Ok(Ok(FeedPage { events: Vec::new(), next: cursor(epoch, last), caught_up: true }));
    };
    let Some(after) = place(after, epoch, last) else { return Ok(Err(StoreError::Cursor)) };
    if after < floor(connection, project)? {
        return Ok(Err(StoreError::CursorExpired));
    }
    let limit = limit.clamp(1, FeedPage::MAX_EVENTS);
    let border = params![after, load::limit_of(FeedPage::MAX_SCAN - 1)];
    let border: Option<i64> = load::first(connection, sql::FEED_END, border, |row| row.get(0))?;
    let end = border.unwrap_or(last);
    let events = between(connection, after, end, project, limit)?;
    let next = match events.last() {
        Some((seq, _)) if events.len() == limit => *seq,
        _ => end,
    };
    let events = events.into_iter().map(|(seq, event)| (cursor(epoch, seq), event)).collect();
    Ok(Ok(FeedPage { events, next: cursor(epoch, next), caught_up: next == last }))
}

/// What was committed since the last call; `None` if its note is not of this history. At most as much as a tail tells:
/// the rest is told next.
pub(super) fn tail(
    connection: &Connection,
    epoch: u64,
    after: Option<&Tail>,
) -> Result<Option<(Vec<FeedEvent>, Tail)>> {
    let last = last(connection)?;
    let Some(after) = after else {
        return Ok(Some((Vec::new(), Tail::at(cursor(epoch, last)))));
    };
    let Some(after) = place(after.mark, epoch, last) else { return Ok(None) };
    let events = between(connection, after, last, None, Tail::MAX_EVENTS)?;
    let told = match events.last() {
        Some((seq, _)) if events.len() == Tail::MAX_EVENTS => *seq,
        _ => last,
    };
    let events = events.into_iter().map(|(_, event)| event).collect();
    Ok(Some((events, Tail::at(cursor(epoch, told)))))
}

fn between(
    connection: &Connection,
    after: i64,
    end: i64,
    project: Option<ProjectId>,
    limit: usize,
) -> Result<Vec<(i64, FeedEvent)>> {
    let params = params![after, end, project.map(|project| project.0), load::limit_of(limit)];
    load::all(connection, sql::FEED_PAGE, params, feed_event)
}

fn feed_event(row: &Row<'_>) -> Result<(i64, FeedEvent)> {
    let event = event_from(row, 0, job_id(row, 4)?)?;
    Ok((row.get(6)?, FeedEvent { project: ProjectId(row.get(5)?), event }))
}

/// There is no row before the first event.
fn last(connection: &Connection) -> Result<i64> {
    Ok(load::first(connection, sql::FEED_LAST, [], |row| row.get(0))?.unwrap_or(0))
}

/// The newest event of the project, or of any, that retention removed.
fn floor(connection: &Connection, project: Option<ProjectId>) -> Result<i64> {
    let of = project.map_or(ALL_PROJECTS, |project| project.0);
    Ok(load::first(connection, sql::FEED_FLOOR, [of], |row| row.get(0))?.unwrap_or(0))
}

fn cursor(epoch: u64, seq: i64) -> FeedCursor {
    FeedCursor { epoch, xid: 0, seq: u64::try_from(seq).unwrap_or(0) }
}

/// The number a cursor stands for. A number not reached yet is of a history that a restored backup forgot.
fn place(cursor: FeedCursor, epoch: u64, last: i64) -> Option<i64> {
    let known = cursor.epoch == epoch && cursor.xid == 0;
    Some(signed(cursor.seq)).filter(|seq| known && *seq <= last)
}
