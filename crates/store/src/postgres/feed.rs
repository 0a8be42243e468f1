//! The feed over transactions that commit in any order, and the tail that tells what became visible.
//!
//! Pages go by (transaction, number) below the oldest transaction under way: behind that nothing can still appear. The tail
//! compares two snapshots. A cursor or a note never counts on a transaction that left no event: after a crash the server
//! gives its number away once more. Within a job events are told by their numbers even where a transaction that began earlier wrote
//! later: such an event is told with the one it follows. Absent: paging by number alone, which loses what commits late.

use std::collections::BTreeSet;
use std::time::Duration;

use longtake_core::feed::{FeedCursor, FeedEvent, FeedPage, Tail};
use longtake_core::id::{JobId, ProjectId, Random};
use longtake_core::store::StoreError;
use longtake_core::time::Timestamp;
use tokio_postgres::Row;

use super::session::{Failure, Session};
use super::sql;
use crate::rows::postgres::{event_from, get, job_id, uuid_of};
use crate::rows::{Result, unreadable};

/// How often the tail is looked at while somebody listens.
pub(super) const TAIL_INTERVAL: Duration = Duration::from_millis(50);
/// Of the lock under which the history gets its name.
const BEGIN: &str = "begin; select pg_advisory_xact_lock(7811040931); set local statement_timeout = 0";

/// Statements of [`epoch`].
pub(super) const EPOCH: &[&str] = &[sql::FEED_EPOCH, sql::FEED_EPOCH_SET, sql::FEED_RESTART, sql::FEED_FLOORS_FORGET];
/// Statements of a page.
pub(super) const FEED: &[&str] = &[sql::FEED_PAGE, sql::FEED_END, sql::FEED_NEIGHBOURS, sql::TAIL_BEGIN];
/// Statements of a tail.
pub(super) const TAIL: &[&str] = &[sql::TAIL_SNAPSHOT, sql::TAIL_CURSOR, sql::FEED_NEIGHBOURS, sql::TAIL_BEGIN];

/// An event and its place.
struct Placed {
    project: ProjectId,
    event: longtake_core::event::JobEvent,
    xid: u64,
    seq: u64,
    /// Others of its job stand on the wrong side of it.
    odd: bool,
}

impl Placed {
    fn place(&self) -> (u64, u64) {
        (self.xid, self.seq)
    }

    fn into_event(self) -> FeedEvent {
        FeedEvent { project: self.project, event: self.event }
    }
}

/// The name of this database's history, made where there is none. One that was copied into another cluster gets a new one:
/// there transactions are numbered anew, and old cursors mean nothing.
pub(super) async fn epoch(session: &Session, random: &dyn Random) -> Result<u64, Failure> {
    session.begin_as(BEGIN).await?;
    let row = session.row(sql::FEED_EPOCH, &[]).await?.ok_or_else(|| unreadable("no answer"))?;
    let (epoch, home): (Option<String>, Option<String>) = (get(&row, 0)?, get(&row, 1)?);
    let cluster: String = get(&row, 2)?;
    if let Some(epoch) = epoch
        && home.as_deref() == Some(cluster.as_str())
    {
        session.rollback().await;
        return Ok(u64::from_str_radix(&epoch, 16).map_err(unreadable)?);
    }
    let epoch = random.u64();
    let moved = session.run(sql::FEED_RESTART, &[]).await?;
    if moved > 0 {
        tracing::warn!(events = moved, "the database was copied from another cluster: cursors of the feed begin anew");
    }
    session.run(sql::FEED_FLOORS_FORGET, &[]).await?;
    session.commit_with(session.run(sql::FEED_EPOCH_SET, &[&format!("{epoch:x}"), &cluster])).await?;
    Ok(epoch)
}

/// Settled events behind a cursor; `Cursor` if it is not of this history, `CursorExpired` where some behind it were
/// removed. Without one: nothing, and the cursor of now.
pub(super) async fn feed(
    session: &Session,
    epoch: u64,
    project: Option<ProjectId>,
    after: Option<FeedCursor>,
    limit: usize,
) -> Result<Result<FeedPage, StoreError>, Failure> {
    let Some(after) = after else {
        let row = session.row(sql::TAIL_BEGIN, &[&None::<i64>]).await?.ok_or_else(|| unreadable("no answer"))?;
        let next = settled(&row, epoch, START)?;
        return Ok(Ok(FeedPage { events: Vec::new(), next, caught_up: true }));
    };
    let limit = limit.clamp(1, FeedPage::MAX_EVENTS);
    let (xid, seq) = (after.xid.to_string(), bound(after.seq));
    let (scan, most) = (count(FeedPage::MAX_SCAN), count(limit));
    let rows = session.rows(sql::FEED_PAGE, &[&xid, &seq, &project.map(|project| project.0), &scan, &most]).await?;
    let ends = rows.first().ok_or_else(|| unreadable("no answer"))?;
    let (low, high) = (transaction(ends, 0)?, transaction(ends, 1)?);
    if after.epoch != epoch || after.xid > high {
        return Ok(Err(StoreError::Cursor));
    }
    if get(ends, 11)? {
        return Ok(Err(StoreError::CursorExpired));
    }
    let removals: Option<String> = get(ends, 12)?;
    let page: Vec<Placed> =
        rows.iter().map(|row| placed(row, 2, Some(10))).filter_map(Result::transpose).collect::<Result<_>>()?;
    let told = page.last().map_or(after, |last| FeedCursor { epoch, xid: last.xid, seq: last.seq });
    let (next, caught_up) = if page.len() == limit {
        (told, false)
    } else {
        // Where events went between the two statements, the second one counts others than the first: the next page tells.
        let end = end_of_scan(session, after, project.is_some(), low, removals).await?;
        end.map_or((told, false), |(end, caught_up)| (end.max(told), caught_up))
    };
    Ok(Ok(FeedPage { events: in_order(session, epoch, after, page).await?, next, caught_up }))
}

/// How far a page got that holds fewer than asked for, and whether there is no more below the horizon. `None` where events
/// were removed since.
async fn end_of_scan(
    session: &Session,
    after: FeedCursor,
    passes_over: bool,
    low: u64,
    removals: Option<String>,
) -> Result<Option<(FeedCursor, bool)>, Failure> {
    let (xid, seq, low, most) =
        (after.xid.to_string(), bound(after.seq), low.to_string(), count(FeedPage::MAX_SCAN - 1));
    let row = session.row(sql::FEED_END, &[&xid, &seq, &low, &most, &passes_over]).await?;
    let row = row.ok_or_else(|| unreadable("no answer"))?;
    if get::<Option<String>>(&row, 0)? != removals {
        return Ok(None);
    }
    let place = |first: usize| -> Result<Option<FeedCursor>> {
        if get::<Option<&str>>(&row, first)?.is_none() {
            return Ok(None);
        }
        Ok(Some(FeedCursor { epoch: after.epoch, xid: transaction(&row, first)?, seq: number(&row, first + 1)? }))
    };
    if let Some(end) = place(1)? {
        return Ok(Some((end, false)));
    }
    Ok(Some((place(3)?.map_or(after, |last| last.max(after)), true)))
}

/// Each event with the cursor behind it. One that stands before an earlier one of its job comes with that, behind it.
async fn in_order(
    session: &Session,
    epoch: u64,
    after: FeedCursor,
    page: Vec<Placed>,
) -> Result<Vec<(FeedCursor, FeedEvent)>, Failure> {
    let mut events = Vec::with_capacity(page.len());
    let mut before = after;
    for placed in page {
        let cursor = FeedCursor { epoch, xid: placed.xid, seq: placed.seq };
        let mut group = Vec::new();
        if placed.odd {
            let around = neighbours(session, &placed).await?;
            let (ver, xid) = (placed.event.ver, placed.xid);
            if !around.iter().any(|other| other.event.ver < ver && other.xid > xid) {
                group = followers(&placed, around);
                group.insert(0, placed);
            }
        } else {
            group.push(placed);
        }
        // Only with the last of a group has everything up to here been told.
        let last = group.len().saturating_sub(1);
        for (at, told) in group.into_iter().enumerate() {
            events.push((if at == last { cursor } else { before }, told.into_event()));
        }
        before = cursor;
    }
    Ok(events)
}

/// The later events of its job that stand before it and behind no other: they are told with it.
fn followers(placed: &Placed, around: Vec<Placed>) -> Vec<Placed> {
    let rank = |other: &Placed| (other.xid, other.event.ver);
    let ranks: Vec<(u64, u32)> = around.iter().map(rank).collect();
    let own = rank(placed);
    let follows = |other: &Placed| {
        let (xid, ver) = rank(other);
        let highest = ranks.iter().filter(|(_, earlier)| *earlier < ver).max();
        ver > own.1 && xid < own.0 && highest == Some(&own)
    };
    around.into_iter().filter(follows).collect()
}

async fn neighbours(session: &Session, placed: &Placed) -> Result<Vec<Placed>, Failure> {
    let ver = i32::try_from(placed.event.ver).unwrap_or(i32::MAX);
    let (job, at) = (uuid_of(placed.event.job), placed.event.at.as_micros());
    let rows = session.rows(sql::FEED_NEIGHBOURS, &[&job, &ver, &at]).await?;
    Ok(rows.iter().map(|row| self::placed(row, 0, None)).filter_map(Result::transpose).collect::<Result<_>>()?)
}

/// What became visible since a note; `None` if it holds no more. `now` instead of the database's clock, in tests.
pub(super) async fn tail(
    session: &Session,
    epoch: u64,
    now: Option<Timestamp>,
    after: Option<&Tail>,
) -> Result<Option<(Vec<FeedEvent>, Tail)>, Failure> {
    let now = now.map(Timestamp::as_micros);
    let Some(after) = after else {
        let row = session.row(sql::TAIL_BEGIN, &[&now]).await?.ok_or_else(|| unreadable("no answer"))?;
        let newest = get::<Option<&str>>(&row, 4)?.map_or(Ok(0), str::parse).map_err(unreadable)?;
        let mark = settled(&row, epoch, START)?;
        return Ok(Some((Vec::new(), Note::of(&row)?.tail(newest, mark))));
    };
    let most = count(Tail::MAX_EVENTS + 1);
    let (rows, known) = match Note::read(&after.token) {
        Some(note) => {
            let rows = session.rows(sql::TAIL_SNAPSHOT, &[&note.snapshot(), &note.at, &most, &now]).await?;
            (rows, note.high.saturating_sub(1))
        }
        None => {
            let (xid, seq) = (after.mark.xid.to_string(), bound(after.mark.seq));
            (session.rows(sql::TAIL_CURSOR, &[&xid, &seq, &most, &now]).await?, after.mark.xid)
        }
    };
    let first = rows.first().ok_or_else(|| unreadable("no answer"))?;
    let note = Note::of(first)?;
    if after.mark.epoch != epoch || after.mark.xid > note.high || rows.len() > Tail::MAX_EVENTS {
        return Ok(None);
    }
    let mark = settled(first, epoch, (after.mark.xid, after.mark.seq))?;
    let fresh = rows.iter().map(|row| placed(row, 4, Some(12))).filter_map(Result::transpose);
    let fresh: Vec<Placed> = fresh.collect::<Result<_>>()?;
    let newest = fresh.iter().map(|placed| placed.xid).fold(known, u64::max);
    let fresh = with_followers(session, after.mark, fresh).await?;
    Ok(Some((fresh.into_iter().map(Placed::into_event).collect(), note.tail(newest, mark))))
}

/// Those the feed told with an event behind the cursor, although they stand before it, are still to be told.
async fn with_followers(session: &Session, cursor: FeedCursor, mut fresh: Vec<Placed>) -> Result<Vec<Placed>, Failure> {
    let mut added: BTreeSet<(JobId, u32)> = BTreeSet::new();
    let mut more = Vec::new();
    for placed in fresh.iter().filter(|placed| placed.odd) {
        let around = neighbours(session, placed).await?.into_iter();
        let missing = around.filter(|other| {
            let told_with_it = other.event.ver > placed.event.ver && other.place() <= (cursor.xid, cursor.seq);
            told_with_it && other.xid < placed.xid && added.insert((other.event.job, other.event.ver))
        });
        more.extend(missing);
    }
    fresh.extend(more);
    // Numbers are given under the lock of the job, so they keep its order.
    fresh.sort_unstable_by_key(|placed| placed.seq);
    Ok(fresh)
}

/// How long the feed has not been able to settle.
pub(super) async fn horizon_age(session: &Session) -> Result<Duration, Failure> {
    let row = session.row(sql::HORIZON_AGE, &[]).await?.ok_or_else(|| unreadable("no answer"))?;
    Ok(Duration::from_micros(u64::try_from(get::<i64>(&row, 0)?).unwrap_or(0)))
}

/// Before all events.
const START: (u64, u64) = (0, 0);

/// What a tail has told, as a time and a snapshot.
struct Note {
    at: i64,
    /// The oldest transaction under way.
    low: u64,
    /// Behind the newest transaction that counts.
    high: u64,
    under_way: Vec<u64>,
}

impl Note {
    /// Two columns: the time and the snapshot.
    fn of(row: &Row) -> Result<Self> {
        let (at, snapshot): (i64, &str) = (get(row, 0)?, get(row, 1)?);
        Self::parse(at, snapshot).ok_or_else(|| unreadable("an unknown form of snapshots"))
    }

    /// From the token of a tail; `None` for one that begins behind a cursor.
    fn read(token: &str) -> Option<Self> {
        let (at, snapshot) = token.split_once('@')?;
        Self::parse(at.parse().ok()?, snapshot)
    }

    fn parse(at: i64, snapshot: &str) -> Option<Self> {
        let mut parts = snapshot.split(':');
        let (low, high) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let under_way = parts.next()?.split(',').filter(|xid| !xid.is_empty()).map(str::parse);
        Some(Self { at, low, high, under_way: under_way.collect::<Result<_, _>>().ok()? })
    }

    fn snapshot(&self) -> String {
        let under_way: Vec<String> = self.under_way.iter().map(u64::to_string).collect();
        format!("{}:{}:{}", self.low, self.high, under_way.join(","))
    }

    /// The tail after what was told. Behind `newest`, no transaction had told an event: whatever has such a number later, be
    /// it one that the server gave away before it crashed, is new.
    fn tail(mut self, newest: u64, mark: FeedCursor) -> Tail {
        self.high = self.high.min(newest.saturating_add(1));
        self.low = self.low.min(self.high);
        self.under_way.retain(|xid| *xid < self.high);
        Tail { token: format!("{}@{}", self.at, self.snapshot()).into(), mark }
    }
}

/// The place of the last settled event, in two columns, or a place known before.
fn settled(row: &Row, epoch: u64, known: (u64, u64)) -> Result<FeedCursor> {
    let last = match get::<Option<&str>>(row, 2)? {
        None => known,
        Some(_) => known.max((transaction(row, 2)?, number(row, 3)?)),
    };
    Ok(FeedCursor { epoch, xid: last.0, seq: last.1 })
}

/// Eight columns from `first` on; `None` where they are null.
fn placed(row: &Row, first: usize, odd: Option<usize>) -> Result<Option<Placed>> {
    if get::<Option<uuid::Uuid>>(row, first)?.is_none() {
        return Ok(None);
    }
    Ok(Some(Placed {
        project: ProjectId(get(row, first + 1)?),
        event: event_from(row, first + 2, job_id(row, first)?)?,
        xid: transaction(row, first + 6)?,
        seq: number(row, first + 7)?,
        odd: odd.map_or(Ok(false), |odd| get(row, odd))?,
    }))
}

/// Numbers of transactions have 64 bits and travel as text.
fn transaction(row: &Row, column: usize) -> Result<u64> {
    get::<&str>(row, column)?.parse().map_err(unreadable)
}

fn number(row: &Row, column: usize) -> Result<u64> {
    u64::try_from(get::<i64>(row, column)?).map_err(unreadable)
}

fn bound(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
