//! Rule R12: until when history may be missing. Read where it counts, in the transaction that opens an attempt, so that
//! every process knows it at once.

use longtake_core::time::Timestamp;

use super::session::{Failure, Session};
use super::{PostgresStore, sql};
use crate::rows::postgres::get;
use crate::rows::unreadable;

/// The time noted, if there is one.
pub(super) async fn get_of(session: &Session) -> Result<Option<Timestamp>, Failure> {
    let row = session.row(sql::QUARANTINE_GET, &[]).await?;
    Ok(row.map(|row| get(&row, 0).map(Timestamp::from_micros)).transpose()?)
}

impl PostgresStore {
    /// The time by the database's clock.
    pub(super) async fn try_now(&self) -> Result<Timestamp, Failure> {
        let session = self.session(&[&[sql::NOW]]).await?;
        let row = session.row(sql::NOW, &[&self.bound_now()]).await?;
        Ok(Timestamp::from_micros(get(&row.ok_or_else(|| unreadable("a clock without an answer"))?, 0)?))
    }

    /// The time noted, if there is one.
    pub(super) async fn try_quarantine(&self) -> Result<Option<Timestamp>, Failure> {
        let session = self.session(&[&[sql::QUARANTINE_GET]]).await?;
        get_of(&session).await
    }

    /// Notes that history before now may be missing.
    pub(super) async fn try_set_quarantine(&self) -> Result<Timestamp, Failure> {
        let session = self.session(&[&[sql::QUARANTINE_SET]]).await?;
        let row = session.run_alone(sql::QUARANTINE_SET, &[&self.bound_now()]).await?.into_iter().next();
        Ok(Timestamp::from_micros(get(&row.ok_or_else(|| unreadable("a note without its time"))?, 0)?))
    }
}
