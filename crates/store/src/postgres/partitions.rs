//! Days of the feed: partitions are made ahead, and what has none goes to the default one, so that no insert ever fails.

use std::time::Duration;

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
    fn a_day_has_the_name_of_its_date() {
        assert_eq!(name_of(0), "event_19700101");
        assert_eq!(name_of(1_790_000_000 / 86_400), "event_20260921");
        assert_eq!(name_of(19_782), "event_20240229");
        assert_eq!(name_of(20_088), "event_20241231");
    }
}
