//! What readers ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longtake_core::artifact::ArtifactKey;
use longtake_core::event::JobEvent;
use longtake_core::feed::{FeedCursor, FeedEvent, FeedPage, Tail};
use longtake_core::id::{AccountId, ExecutorId, JobId, ProjectId, ProviderJobId};
use longtake_core::request::VideoRequest;
use longtake_core::store::{Claim, Job, ListFilter, Page, StoreError, StoreStats, Timeline, WorkKey};
use longtake_core::time::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::feed;
use super::load::{self, limit_of};
use super::session::{Failure, Session};
use super::{PostgresStore, sql};
use crate::rows::postgres::{attempt_from, event_from, exchange_from, get, job_id, uuid_of};
use crate::rows::{Result as Read, metadata_text, origin, states_of, unreadable};

/// Most jobs on one page.
const MAX_PAGE: usize = 100;
/// Jobs looked at in one round of a listing with a filter.
const SCAN_ROUND: usize = 5_000;
/// Rounds of one listing: a filter that fits little looks at a million jobs at most.
const MAX_SCAN_ROUNDS: usize = 200;

impl PostgresStore {
    /// One job, unless hidden.
    pub(super) async fn try_get(&self, project: ProjectId, job: JobId) -> Result<Option<Job>, Failure> {
        let session = self.session(&[&[sql::VIEWS]]).await?;
        load::visible(&session, project, job).await
    }

    /// The unchanging half.
    pub(super) async fn try_request(&self, job: JobId) -> Result<Option<Arc<VideoRequest>>, Failure> {
        let session = self.session(&[&[sql::REQUEST_GET]]).await?;
        load::request(&session, job).await
    }

    /// What an executor has.
    pub(super) async fn try_claims(&self, executor: ExecutorId, works: &[WorkKey]) -> Result<Vec<Claim>, Failure> {
        let session = self.session(&[&[sql::CLAIMS]]).await?;
        load::claims(&session, executor, works).await
    }

    /// What a client's key stands for.
    pub(super) async fn try_find_idempotent(
        &self,
        project: ProjectId,
        key: &str,
    ) -> Result<Option<([u8; 32], JobId)>, Failure> {
        let session = self.session(&[&[sql::IDEM_GET]]).await?;
        let Some(row) = session.row(sql::IDEM_GET, &[&project.0, &key]).await? else { return Ok(None) };
        let fingerprint = get::<&[u8]>(&row, 0)?.try_into().map_err(unreadable)?;
        Ok(Some((fingerprint, job_id(&row, 1)?)))
    }

    /// A page; `None` if `after` names no job of the project. A hidden one still marks a place.
    pub(super) async fn try_list(&self, project: ProjectId, filter: &ListFilter) -> Result<Option<Page>, Failure> {
        let session = self.session(&[&[sql::PROJECT_OF, sql::LIST_ASC, sql::LIST_DESC, sql::VIEWS]]).await?;
        let mut from = Uuid::from_bytes(if filter.ascending { [0; 16] } else { [0xff; 16] });
        if let Some(after) = filter.after {
            from = uuid_of(after);
            let of = session.row(sql::PROJECT_OF, &[&from]).await?;
            if of.map(|row| get::<i64>(&row, 0)).transpose()? != Some(project.0) {
                return Ok(None);
            }
        }
        let limit = filter.limit.clamp(1, MAX_PAGE);
        let ids = fitting(&session, project, filter, from, limit + 1).await?;
        let has_more = ids.len() > limit;
        let views = load::views(&session, &ids[..ids.len().min(limit)]).await?;
        let jobs = views.into_iter().filter(|(_, hidden)| !hidden).map(|(job, _)| job).collect();
        Ok(Some(Page { jobs, has_more }))
    }

    /// Events after a number, in order.
    pub(super) async fn try_events_after(&self, job: JobId, ver: u32, limit: usize) -> Result<Vec<JobEvent>, Failure> {
        let session = self.session(&[&[sql::EVENTS_AFTER]]).await?;
        let ver = super::saves::number(ver);
        let rows = session.rows(sql::EVENTS_AFTER, &[&uuid_of(job), &ver, &limit_of(limit)]).await?;
        Ok(rows.iter().map(|row| event_from(row, 0, job)).collect::<Read<_>>()?)
    }

    /// A page of the feed, or why the cursor is refused.
    pub(super) async fn try_feed(
        &self,
        project: Option<ProjectId>,
        after: Option<FeedCursor>,
        limit: usize,
    ) -> Result<Result<FeedPage, StoreError>, Failure> {
        let session = self.session(&[feed::FEED]).await?;
        feed::feed(&session, self.epoch, project, after, limit).await
    }

    /// What became visible since a note; `None` for one of another history.
    pub(super) async fn try_tail(&self, after: Option<&Tail>) -> Result<Option<(Vec<FeedEvent>, Tail)>, Failure> {
        let session = self.session(&[feed::TAIL]).await?;
        let now = self.bound_now().map(Timestamp::from_micros);
        feed::tail(&session, self.epoch, now, after).await
    }

    /// The flight recorder, as of one moment.
    pub(super) async fn try_timeline(&self, project: ProjectId, job: JobId) -> Result<Option<Timeline>, Failure> {
        let queries: &[&str] = &[sql::VIEWS, sql::ATTEMPTS, sql::EVENTS_NEWEST, sql::EXCHANGES];
        let session = self.session(&[queries]).await?;
        let (id, most) = (uuid_of(job), limit_of(Timeline::MAX_EVENTS));
        let read = async {
            let (begun, seen, attempts, events, exchanges) = futures::join!(
                session.begin_as("begin isolation level repeatable read read only"),
                load::visible(&session, project, job),
                async { session.rows(sql::ATTEMPTS, &[&id]).await },
                async { session.rows(sql::EVENTS_NEWEST, &[&id, &most]).await },
                async { session.rows(sql::EXCHANGES, &[&id, &most]).await }
            );
            begun?;
            Ok((seen?, attempts?, events?, exchanges?))
        };
        let (seen, attempts, events, exchanges) = session.commit_with(read).await?;
        let Some(seen) = seen else { return Ok(None) };
        Ok(Some(Timeline {
            job: seen,
            attempts: attempts.iter().map(|row| attempt_from(row, 0)).collect::<Read<_>>()?,
            events: events.iter().rev().map(|row| event_from(row, 0, job)).collect::<Read<_>>()?,
            exchanges: exchanges.iter().rev().map(exchange_from).collect::<Read<_>>()?,
        }))
    }

    /// How long the newest completed jobs of a model ran.
    pub(super) async fn try_durations(&self, model: &str, limit: usize) -> Result<Vec<Duration>, Failure> {
        let session = self.session(&[&[sql::DURATIONS]]).await?;
        let rows = session.rows(sql::DURATIONS, &[&model, &limit_of(limit)]).await?;
        let ran = |row: &Row| u64::try_from(get::<i64>(row, 0)?).map(Duration::from_micros).map_err(unreadable);
        Ok(rows.iter().map(ran).collect::<Read<_>>()?)
    }

    /// Outputs, pictures derived from them, and input images of jobs that are not hidden.
    pub(super) async fn try_referenced(&self, keys: &[ArtifactKey]) -> Result<Vec<bool>, Failure> {
        let session = self.session(&[&[sql::REFERENCED]]).await?;
        referenced(&session, keys).await
    }

    /// Which provider jobs some attempt or orphan of the account has.
    pub(super) async fn try_claimed(
        &self,
        account: AccountId,
        provider_jobs: &[ProviderJobId],
    ) -> Result<Vec<bool>, Failure> {
        let session = self.session(&[&[sql::CLAIMED]]).await?;
        let names: Vec<&str> = provider_jobs.iter().map(ProviderJobId::as_str).collect();
        flags(&session.rows(sql::CLAIMED, &[&account.0, &names]).await?)
    }

    /// Attempts of the account that may still run at the provider.
    pub(super) async fn try_in_flight(&self, account: AccountId) -> Result<u32, Failure> {
        let session = self.session(&[&[sql::IN_FLIGHT_ACCOUNTS]]).await?;
        let rows = session.row(sql::IN_FLIGHT_ACCOUNTS, &[&vec![account.0], &vec![i64::from(u32::MAX)]]).await?;
        let count = rows.map_or(Ok(0), |row| get::<i64>(&row, 1))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Attempts of the account of which nobody knows whether the provider has them.
    pub(super) async fn try_in_doubt(&self, account: AccountId, since: Timestamp) -> Result<u32, Failure> {
        let session = self.session(&[&[sql::IN_DOUBT]]).await?;
        let count = session
            .row(sql::IN_DOUBT, &[&account.0, &since.as_micros()])
            .await?
            .map_or(Ok(0), |row| get::<i64>(&row, 0))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Figures for metrics. Walks the live jobs.
    pub(super) async fn try_stats(&self) -> Result<StoreStats, Failure> {
        let session = self.session(&[&[sql::STATS_LIVE, sql::STATS_REST, sql::HORIZON_AGE]]).await?;
        let now = self.bound_now();
        let (live, rest, horizon_age) = futures::join!(
            session.rows(sql::STATS_LIVE, &[]),
            async { session.row(sql::STATS_REST, &[&now]).await },
            feed::horizon_age(&session)
        );
        let horizon_age = horizon_age?;
        let (live, rest) = (live?, rest?.ok_or_else(|| unreadable("figures without a row"))?);
        let count = |row: &Row, column| -> Read<u64> { u64::try_from(get::<i64>(row, column)?).map_err(unreadable) };
        let live: BTreeMap<i16, u64> =
            live.iter().map(|row| Ok((get(row, 0)?, count(row, 1)?))).collect::<Read<_>>()?;
        Ok(StoreStats {
            live,
            watched: count(&rest, 0)?,
            orphans: count(&rest, 1)?,
            due: count(&rest, 2)?,
            executors: count(&rest, 3)?,
            connections: self.pool.in_use(),
            horizon_age,
        })
    }

    /// Whether this server takes writes.
    pub(super) async fn try_ready(&self) -> Result<(), Failure> {
        let session = self.session(&[&[sql::READY]]).await?;
        let read_only = session.row(sql::READY, &[]).await?.map_or(Ok(true), |row| get(&row, 0))?;
        if read_only {
            Err(Failure::Unavailable("the database takes no writes: it is a standby".into()))
        } else {
            Ok(())
        }
    }
}

/// Up to `wanted` jobs that fit, looking at one bounded stretch of the index after the other.
async fn fitting(
    session: &Session,
    project: ProjectId,
    filter: &ListFilter,
    mut from: Uuid,
    wanted: usize,
) -> Result<Vec<JobId>, Failure> {
    let query = if filter.ascending { sql::LIST_ASC } else { sql::LIST_DESC };
    let (lowest, highest) = states_of(filter.status);
    let metadata = metadata_text(&filter.metadata)?;
    let plain = filter.status.is_none() && filter.model.is_none() && metadata.is_none();
    let mut stretch = if plain { wanted } else { SCAN_ROUND };
    let mut ids: Vec<JobId> = Vec::new();
    for _ in 0..MAX_SCAN_ROUNDS {
        let (length, missing) = (limit_of(stretch), limit_of(wanted - ids.len()));
        let values: [&(dyn ToSql + Sync); 8] =
            [&project.0, &from, &length, &lowest, &highest, &filter.model, &metadata, &missing];
        let row = session.row(query, &values).await?.ok_or_else(|| unreadable("a stretch without a row"))?;
        let fit: Vec<Uuid> = get(&row, 2)?;
        ids.extend(fit.into_iter().map(|id| JobId::from_bytes(*id.as_bytes())));
        let end: Option<Uuid> = get(&row, 1)?;
        match end {
            Some(end) if get::<i64>(&row, 0)? >= length && ids.len() < wanted => from = end,
            _ => break,
        }
        // Hidden jobs were in the way.
        stretch = SCAN_ROUND;
    }
    Ok(ids)
}

/// Which objects a row refers to.
pub(super) async fn referenced(session: &Session, keys: &[ArtifactKey]) -> Result<Vec<bool>, Failure> {
    let origins: Vec<&str> = keys.iter().map(|key| origin(key.as_str())).collect();
    let keys: Vec<&str> = keys.iter().map(ArtifactKey::as_str).collect();
    flags(&session.rows(sql::REFERENCED, &[&keys, &origins]).await?)
}

fn flags(rows: &[Row]) -> Result<Vec<bool>, Failure> {
    Ok(rows.iter().map(|row| get(row, 0)).collect::<Read<_>>()?)
}
