//! Days of the feed: partitions are made ahead, and what has none goes to the default one, so that no insert ever fails.
//! Days whose events nobody keeps any longer go as a whole; what belongs to unfinished jobs moves to the default one before.

use std::time::Duration;

use tokio_postgres::Row;
use uuid::Uuid;

use super::session::{Failure, Session};
use super::sql;
use crate::rows::postgres::get;
use crate::rows::{Result as Read, micros, unreadable};

/// Days made ahead of today.
const DAYS_AHEAD: i64 = 3;
/// How long making one waits for a table that is in use: an insert that waits behind it would be worse than no partition.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '500ms'";
/// Completed jobs between two rounds of [`trim_durations`].
pub(super) const TRIM_EVERY: u64 = 500;
/// Durations kept of each model.
const MAX_DURATIONS: i64 = 1_000;
/// A day in microseconds.
const DAY_US: i64 = 86_400_000_000;

/// What [`drop_old`] needs prepared.
pub(super) const OLD_DAYS: &[&str] = &[sql::DAYS_OVER, sql::DAY_NOTE];
/// An empty day goes when it ended so long ago: nobody writes into it any more, whatever the clocks.
const EMPTY_AFTER_US: i64 = 2 * DAY_US;
/// Days that one call drops.
const MAX_DAYS: usize = 5;
/// Events whose places are noted in one statement, and statements of one call.
const NOTE_EVENTS: i64 = 50_000;
const MAX_NOTES: usize = 20;
/// How long dropping one waits for the table: everybody who comes meanwhile waits as well.
const DROP_LOCK_MS: u32 = 200;
/// The lock of retention: see `queries/expire_begin.sql`.
const RETENTION_LOCK: i64 = 5_207_801_930_028;

/// A partition whose day is over.
struct Day {
    name: String,
    from_at: i64,
    until_at: i64,
    /// Its events are kept no longer. Else it is empty.
    expired: bool,
}

/// Makes the partitions of today and the next days. One that cannot be made is made by a later round: until then the
/// default partition takes its events.
pub(super) async fn ensure(session: &Session, now: Option<i64>) -> Result<(), Failure> {
    let row = session.row(sql::NOW, &[&now]).await?.ok_or_else(|| unreadable("a clock without an answer"))?;
    let today = get::<i64>(&row, 0)?.div_euclid(DAY_US);
    let rows = session.rows(sql::PARTITIONS, &[]).await?;
    let known: Vec<String> = rows.iter().map(|row| get(row, 0)).collect::<Read<_>>()?;
    for day in today..=today + DAYS_AHEAD {
        let name = name_of(day);
        if !known.contains(&name) {
            make(session, &name, day).await?;
        }
    }
    Ok(())
}

async fn make(session: &Session, name: &str, day: i64) -> Result<(), Failure> {
    let (from, to) = (day * DAY_US, (day + 1) * DAY_US);
    // Attached, not made in place: that would lock out everybody who writes events.
    let made = session
        .alone(&format!(
            "{LOCK_TIMEOUT};
             create table {name} (like event including defaults including constraints);
             alter table event attach partition {name} for values from ({from}) to ({to})"
        ))
        .await;
    if let Err(failure) = &made {
        // Another process made it, or events of that day are in the default partition already.
        tracing::debug!(?failure, name, "a partition was not made");
    }
    Ok(())
}

/// Drops days whose events are kept no longer, and empty ones. Whether there are more that can go now. A day that
/// somebody uses is left to the next call.
pub(super) async fn drop_old(session: &Session, kept: Option<Duration>, now: Option<i64>) -> Result<bool, Failure> {
    let rows = session.rows(sql::DAYS_OVER, &[&now, &EMPTY_AFTER_US]).await?;
    let days: Vec<Day> = rows.iter().map(|row| day_from(row, kept)).filter_map(Read::transpose).collect::<Read<_>>()?;
    let mut more = days.len() > MAX_DAYS;
    for day in days.iter().take(MAX_DAYS) {
        if day.expired {
            match note_places(session, day).await? {
                Noted::All => {}
                Noted::Some => return Ok(true),
                Noted::Elsewhere => return Ok(false),
            }
        }
        if drop_day(session, day).await {
            tracing::info!(day.name, day.expired, "a day of the feed is dropped");
        } else {
            more = false;
        }
    }
    Ok(more)
}

/// `None` where it is to stay.
fn day_from(row: &Row, kept: Option<Duration>) -> Read<Option<Day>> {
    let (at, until_at): (i64, i64) = (get(row, 0)?, get(row, 3)?);
    let expired = kept.is_some_and(|kept| until_at.saturating_add(micros(kept)) <= at);
    let goes = expired || get(row, 4)?;
    Ok(if goes { Some(Day { name: get(row, 1)?, from_at: get(row, 2)?, until_at, expired }) } else { None })
}

/// How far the places of a day were noted.
enum Noted {
    All,
    /// The next call goes on.
    Some,
    /// Another process is at it.
    Elsewhere,
}

/// Readers that stand before a removed event are told so; a day has millions, so that is noted piece by piece before the
/// day goes. Each piece is a transaction of its own.
async fn note_places(session: &Session, day: &Day) -> Result<Noted, Failure> {
    for _ in 0..MAX_NOTES {
        let rows = session.run_alone(sql::DAY_NOTE, &[&day.from_at, &day.until_at, &NOTE_EVENTS]).await?;
        let noted: Option<i64> = rows.first().map_or(Ok(None), |row| get(row, 0))?;
        match noted {
            None => return Ok(Noted::Elsewhere),
            Some(events) if events < NOTE_EVENTS => return Ok(Noted::All),
            Some(_) => {}
        }
    }
    Ok(Noted::Some)
}

/// One transaction, which locks out everybody who reads or writes events, so it waits for nothing and does little: the
/// places are noted already, and what moves is found from the work rows, which only unfinished jobs have. `false` where
/// the table or the day is in use, or somebody else is at it.
async fn drop_day(session: &Session, day: &Day) -> bool {
    let dropped = session.alone(&drop_statements(day)).await;
    if let Err(failure) = &dropped {
        tracing::debug!(?failure, day.name, "a day of the feed was not dropped");
    }
    dropped.is_ok()
}

fn drop_statements(day: &Day) -> String {
    let Day { name, from_at, until_at, expired } = day;
    // Ids of jobs sort by age; a day more than enough for clocks that differ.
    let youngest = youngest_before(until_at.saturating_add(DAY_US));
    format!(
        "set local lock_timeout = '{DROP_LOCK_MS}ms'; set local statement_timeout = '5s';
do $$
begin
    if not pg_try_advisory_xact_lock({RETENTION_LOCK}) then
        raise exception 'somebody else is at it' using errcode = 'lock_not_available';
    end if;
    lock table only event in access exclusive mode;
    -- Whoever holds it now does not come from the table above, and vacuum takes its time.
    lock table only {name} in access exclusive mode nowait;
    perform 1 from {name} e order by e.xid, e.seq limit 1;
    if found and not {expired} then
        raise exception 'it is not empty any more' using errcode = 'lock_not_available';
    end if;
    if found then
        insert into feed_floor (project, xid, seq)
        select distinct on (e.project) e.project, e.xid, e.seq from {name} e
        where (e.xid, e.seq) > (coalesce((select xid from feed_day where from_at = {from_at}), '0'::xid8),
                                coalesce((select seq from feed_day where from_at = {from_at}), -1))
        order by e.project, e.xid desc, e.seq desc
        on conflict (project) do update set xid = excluded.xid, seq = excluded.seq
        where (feed_floor.xid, feed_floor.seq) < (excluded.xid, excluded.seq);
        insert into meta (key, value) values ('feed_removals', '1')
        on conflict (key) do update set value = (meta.value::bigint + 1)::text;
    end if;
    alter table event detach partition {name};
    insert into event_default (job, ver, project, type, at, xid, seq, body)
    select e.job, e.ver, e.project, e.type, e.at, e.xid, e.seq, e.body
    from (select distinct w.job from work w where w.job < '{youngest}') w join {name} e on e.job = w.job;
    drop table {name};
    delete from feed_day where from_at = {from_at};
end
$$"
    )
}

/// Ids of jobs that are made before a time are less than this.
fn youngest_before(at: i64) -> Uuid {
    let millis = u64::try_from(at / 1_000).unwrap_or(0);
    Uuid::from_u128(u128::from(millis) << 80)
}

/// `event_20260921`, which sorts by age.
fn name_of(day: i64) -> String {
    let (year, month, day) = civil(day);
    format!("event_{year:04}{month:02}{day:02}")
}

/// Year, month and day of a day since the epoch (H. Hinnant's algorithm).
const fn civil(day: i64) -> (i64, i64, i64) {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + (month <= 2) as i64, month, doy - (153 * mp + 2) / 5 + 1)
}

/// Forgets durations beyond the newest of each model.
pub(super) async fn trim_durations(session: &Session) -> Result<(), Failure> {
    session.run(sql::DURATION_TRIM, &[&MAX_DURATIONS]).await.map(drop)
}

/// Forgets incarnations given up so long ago, but for those that own work or have submissions in doubt.
pub(super) async fn forget_executors(session: &Session, now: Option<i64>, kept: Duration) -> Result<(), Failure> {
    session.run(sql::EXECUTORS_FORGET, &[&now, &micros(kept)]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_before_sort_before() {
        let job = |at: i64| {
            let bytes = [0xff; 10];
            uuid::Builder::from_unix_timestamp_millis(u64::try_from(at / 1_000).unwrap(), &bytes).into_uuid()
        };
        let end = 20_717 * DAY_US;
        assert!(job(end - 1_000) < youngest_before(end));
        assert!(job(end) > youngest_before(end));
    }

    #[test]
    fn a_day_has_the_name_of_its_date() {
        assert_eq!(name_of(0), "event_19700101");
        assert_eq!(name_of(1_790_000_000 / 86_400), "event_20260921");
        assert_eq!(name_of(19_782), "event_20240229");
        assert_eq!(name_of(20_088), "event_20241231");
    }
}
