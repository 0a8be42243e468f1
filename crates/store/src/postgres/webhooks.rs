//! Endpoints and deliveries. A delivery has no owner: it is leased by its due time, and whoever comes back writes what the
//! try came to.
//!
//! Deliveries are made by the statements that insert events. One statement takes them, one loads what was tried under locks,
//! one saves it; deliveries are locked before endpoints, each sorted, and an endpoint only where a try changes it: what
//! goes well at many machines at once waits for nobody. Absent: HTTP, signatures.

use std::collections::BTreeMap;

use async_trait::async_trait;
use longtake_core::event::EventKind;
use longtake_core::id::{DeliveryId, EndpointId, JobId, ProjectId};
use longtake_core::store::StoreError;
use longtake_core::time::Timestamp;
use longtake_core::webhook::{
    Delivery, DeliveryPage, Due, Endpoint, EndpointChange, EventTypes, JobDeliveries, NewEndpoint, Replayed, Room,
    Tried, Try,
};
use longtake_core::webhook_store::WebhookStore;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::load::limit_of;
use super::saves::{Save, number, text};
use super::session::{Failure, Session, repeated};
use super::{PostgresStore, sql};
use crate::rows::postgres::{delivery_from, endpoint_from, event_from, get, job_id, try_from, types_of, uuid_of};
use crate::rows::webhooks::{DELIVERY, ENDPOINT, salts_text, stored_due_at};
use crate::rows::{Result as Read, micros, unreadable};
use crate::tried::Loaded;

/// Who adds an endpoint holds it, so that nobody counts past the other.
const ADD: &str = "select pg_advisory_xact_lock(5207801930031)";
/// Who replays holds it: two replays of the same events would wait for each other crosswise.
const REPLAY: &str = "select pg_advisory_xact_lock(5207801930032)";
/// Most endpoints that one call looks at; the first by number, and those that were served are due later.
const MAX_WAITING: i64 = 10_000;
/// Events looked at in one statement of a replay.
const REPLAY_ROUND: i64 = 5_000;

/// The columns of `deliveries_lock.sql`: what was tried, under locks.
fn loaded(rows: &[Row]) -> Read<Loaded> {
    let mut now = Timestamp::from_micros(0);
    let mut tried = Vec::with_capacity(rows.len());
    for row in rows {
        // Of the last one that was waited for.
        now = now.max(Timestamp::from_micros(get(row, DELIVERY + ENDPOINT)?));
        tried.push((delivery_from(row)?, endpoint_from(row, DELIVERY)?));
    }
    Ok(Loaded::new(now, tried))
}

/// The columns of `deliveries_save.sql`. Endpoints that are not locked are as they were.
fn tries_saved(loaded: &Loaded, locked: &[EndpointId], noted: &[(u32, &Tried)]) -> Save {
    let rows: Vec<&Delivery> = loaded.deliveries().collect();
    let endpoints = loaded.endpoints(locked);
    let kept = limit_of(Try::MAX_KEPT);
    let values: Vec<super::saves::Value> = vec![
        Box::new(rows.iter().map(|row| row.id.0).collect::<Vec<_>>()),
        Box::new(rows.iter().map(|row| row.state.number()).collect::<Vec<_>>()),
        Box::new(rows.iter().map(|row| stored_due_at(row)).collect::<Vec<_>>()),
        Box::new(rows.iter().map(|row| i64::from(row.tries)).collect::<Vec<_>>()),
        Box::new(endpoints.iter().map(|row| row.id.0).collect::<Vec<_>>()),
        Box::new(endpoints.iter().map(|row| row.status.number()).collect::<Vec<_>>()),
        Box::new(endpoints.iter().map(|row| i64::from(row.failures)).collect::<Vec<_>>()),
        Box::new(endpoints.iter().map(|row| row.open_until.as_micros()).collect::<Vec<_>>()),
        Box::new(noted.iter().map(|(_, item)| item.delivery.0).collect::<Vec<_>>()),
        Box::new(noted.iter().map(|(n, _)| i64::from(*n)).collect::<Vec<_>>()),
        Box::new(noted.iter().map(|(_, item)| item.log.at.as_micros()).collect::<Vec<_>>()),
        Box::new(noted.iter().map(|(_, item)| item.log.status.map(i32::from)).collect::<Vec<_>>()),
        Box::new(noted.iter().map(|(_, item)| i64::from(item.log.duration_ms)).collect::<Vec<_>>()),
        Box::new(noted.iter().map(|(_, item)| text(&item.log.words)).collect::<Vec<_>>()),
        Box::new(kept),
    ];
    Save { query: sql::DELIVERIES_SAVE, values }
}

/// An event that is told again.
struct Told {
    job: JobId,
    ver: u32,
    kind: EventKind,
    at: i64,
}

async fn own(session: &Session, project: ProjectId, endpoint: EndpointId) -> Result<Option<Endpoint>, Failure> {
    let row = session.row(sql::ENDPOINT_GET, &[&endpoint.0, &project.0]).await?;
    Ok(row.map(|row| endpoint_from(&row, 0)).transpose()?)
}

impl PostgresStore {
    /// One statement under the lock of those who add endpoints.
    async fn added(&self, query: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, Failure> {
        let session = self.session(&[&[query]]).await?;
        let added = async {
            let (begun, locked, row) =
                futures::join!(session.begin(), session.command(ADD), session.row(query, values));
            begun?;
            locked?;
            row
        };
        session.commit_with(added).await
    }

    async fn try_create_endpoint(&self, new: &NewEndpoint) -> Result<Option<Endpoint>, Failure> {
        // Stands for the row until that is there: the database gives number and time.
        let Endpoint { project, types, salts, .. } = Endpoint::of_client(new.clone(), Timestamp::from_micros(0));
        let (url, description, salts) = (text(&new.url), text(&new.description), salts_text(&salts)?);
        let (types, now, most) = (types_of(types), self.bound_now(), limit_of(Endpoint::MAX_PER_PROJECT));
        let row =
            self.added(sql::ENDPOINT_INSERT, &[&project.0, &url, &types, &description, &salts, &now, &most]).await?;
        Ok(row.map(|row| endpoint_from(&row, 0)).transpose()?)
    }

    async fn try_endpoints(&self, project: ProjectId) -> Result<Vec<Endpoint>, Failure> {
        let session = self.session(&[&[sql::ENDPOINTS]]).await?;
        let rows = session.rows(sql::ENDPOINTS, &[&project.0, &limit_of(Endpoint::MAX_PER_PROJECT)]).await?;
        Ok(rows.iter().map(|row| endpoint_from(row, 0)).collect::<Read<_>>()?)
    }

    async fn try_endpoint(&self, project: ProjectId, endpoint: EndpointId) -> Result<Option<Endpoint>, Failure> {
        let session = self.session(&[&[sql::ENDPOINT_GET]]).await?;
        own(&session, project, endpoint).await
    }

    async fn try_change_endpoint(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        change: &EndpointChange,
    ) -> Result<Option<Endpoint>, Failure> {
        let session = self.session(&[&[sql::ENDPOINT_LOCK, sql::NOW, sql::ENDPOINT_UPDATE]]).await?;
        let (begun, known, now) = futures::join!(
            session.begin(),
            async { session.row(sql::ENDPOINT_LOCK, &[&endpoint.0, &project.0]).await },
            async { session.row(sql::NOW, &[&self.bound_now()]).await }
        );
        begun?;
        let Some(known) = known? else {
            session.rollback().await;
            return Ok(None);
        };
        let now = get(&now?.ok_or_else(|| unreadable("no time"))?, 0)?;
        let changed = change.apply(endpoint_from(&known, 0)?, Timestamp::from_micros(now));
        let values: Vec<super::saves::Value> = vec![
            Box::new(changed.id.0),
            Box::new(changed.url.as_deref().map(text)),
            Box::new(types_of(changed.types)),
            Box::new(text(&changed.description)),
            Box::new(changed.status.number()),
            Box::new(salts_text(&changed.salts)?),
            Box::new(i64::from(changed.failures)),
            Box::new(changed.open_until.as_micros()),
        ];
        session.save(vec![Save { query: sql::ENDPOINT_UPDATE, values }]).await?;
        Ok(Some(changed))
    }

    async fn try_origin(&self, project: ProjectId, origin: &str) -> Result<EndpointId, Failure> {
        let origin = text(origin);
        let known = {
            let session = self.session(&[&[sql::ORIGIN_GET]]).await?;
            session.row(sql::ORIGIN_GET, &[&project.0, &origin]).await?
        };
        let row = match known {
            Some(row) => Some(row),
            None => {
                let (now, types) = (self.bound_now(), types_of(EventTypes::ALL));
                let most = limit_of(Endpoint::MAX_ORIGINS);
                self.added(sql::ORIGIN_INSERT, &[&project.0, &origin, &now, &most, &types]).await?
            }
        };
        Ok(EndpointId(get(&row.ok_or_else(|| unreadable("an origin without an endpoint"))?, 0)?))
    }

    async fn try_take(&self, room: &Room) -> Result<Vec<Due>, Failure> {
        if room.limit == 0 {
            return Ok(Vec::new());
        }
        let session = self.session(&[&[sql::TAKE_DELIVERIES]]).await?;
        let busy: BTreeMap<String, usize> = room.busy.iter().map(|(id, left)| (id.to_string(), *left)).collect();
        let busy = serde_json::to_string(&busy).map_err(unreadable)?;
        let (limit, most) = (limit_of(room.limit), limit_of(room.per_endpoint));
        let (lease, suspect) = (micros(room.lease), i64::from(Endpoint::CIRCUIT_FAILURES));
        let life = micros(Delivery::LIFE);
        let values: [&(dyn ToSql + Sync); 8] =
            [&self.bound_now(), &limit, &most, &busy, &lease, &suspect, &MAX_WAITING, &life];
        let rows = session.run_alone(sql::TAKE_DELIVERIES, &values).await?;
        Ok(rows.iter().map(due_from).collect::<Read<_>>()?)
    }

    async fn try_finish(&self, tried: &[Tried]) -> Result<(), Failure> {
        let session = self.session(&[&[sql::DELIVERIES_LOCK, sql::ENDPOINTS_LOCK, sql::DELIVERIES_SAVE]]).await?;
        let mut ids: Vec<i64> = tried.iter().map(|item| item.delivery.0).collect();
        ids.sort_unstable();
        ids.dedup();
        let (begun, rows) = futures::join!(session.begin(), async {
            session.rows(sql::DELIVERIES_LOCK, &[&ids, &self.bound_now()]).await
        });
        begun?;
        let mut loaded = loaded(&rows?)?;
        if loaded.is_empty() {
            session.rollback().await;
            return Ok(());
        }
        let locked = loaded.changed(tried);
        if !locked.is_empty() {
            let ids: Vec<i64> = locked.iter().map(|endpoint| endpoint.0).collect();
            for row in session.rows(sql::ENDPOINTS_LOCK, &[&ids]).await? {
                loaded.put(endpoint_from(&row, 0)?);
            }
        }
        let noted = loaded.note(tried);
        session.save(vec![tries_saved(&loaded, &locked, &noted)]).await
    }

    async fn try_next(&self) -> Result<Option<Timestamp>, Failure> {
        let session = self.session(&[&[sql::DELIVERY_NEXT]]).await?;
        let row = session.row(sql::DELIVERY_NEXT, &[]).await?.ok_or_else(|| unreadable("no answer"))?;
        Ok(get::<Option<i64>>(&row, 0)?.map(Timestamp::from_micros))
    }

    async fn try_deliveries(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<DeliveryPage>, Failure> {
        let session = self.session(&[&[sql::ENDPOINT_GET, sql::DELIVERIES, sql::TRIES]]).await?;
        let before = after.map_or(i64::MAX, |after| after.0);
        let most = limit_of(limit.saturating_add(1));
        let (known, rows) = futures::join!(own(&session, project, endpoint), async {
            session.rows(sql::DELIVERIES, &[&endpoint.0, &before, &most]).await
        });
        if known?.is_none() {
            return Ok(None);
        }
        page_of(&session, &rows?, limit).await.map(Some)
    }

    async fn try_redeliver(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, Failure> {
        let session = self.session(&[&[sql::REDELIVER]]).await?;
        let values: [&(dyn ToSql + Sync); 4] = [&delivery.0, &endpoint.0, &project.0, &self.bound_now()];
        let row = session.run_alone(sql::REDELIVER, &values).await?.into_iter().next();
        Ok(row.as_ref().map(delivery_from).transpose()?)
    }

    async fn try_replay(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: (JobId, u32),
        limit: usize,
    ) -> Result<Option<Replayed>, Failure> {
        let queries: &[&str] = &[sql::ENDPOINT_GET, sql::REPLAY_FROM, sql::REPLAY_PAGE, sql::REPLAY_SAVE];
        let session = self.session(&[queries]).await?;
        let (known, from) = futures::join!(own(&session, project, endpoint), async {
            session.row(sql::REPLAY_FROM, &[&uuid_of(after.0), &number(after.1), &project.0]).await
        });
        let (Some(known), Some(from)) = (known?, from?) else { return Ok(None) };
        let mut events = behind(&session, project, (get(&from, 0)?, get(&from, 1)?), limit.saturating_add(1)).await?;
        let more = events.len() > limit;
        events.truncate(limit);
        let more_after = events.last().filter(|_| more).map(|last| (last.job, last.ver));
        events.retain(|event| known.types.has(event.kind));
        let deliveries = order(&session, endpoint, &events, self.bound_now()).await?;
        Ok(Some(Replayed { deliveries, more_after }))
    }
}

/// A page of these rows, of which there is one more than it may hold where there is more; each with its tries.
pub(super) async fn page_of(session: &Session, rows: &[Row], limit: usize) -> Result<DeliveryPage, Failure> {
    let mut rows: Vec<Delivery> = rows.iter().map(delivery_from).collect::<Read<_>>()?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let ids: Vec<i64> = rows.iter().map(|row| row.id.0).collect();
    let mut tries: BTreeMap<DeliveryId, Vec<Try>> = BTreeMap::new();
    for row in session.rows(sql::TRIES, &[&ids]).await? {
        let (delivery, log) = try_from(&row)?;
        tries.entry(delivery).or_default().push(log);
    }
    let with_tries = |row: Delivery| {
        let tries = tries.remove(&row.id).unwrap_or_default();
        (row, tries)
    };
    Ok(DeliveryPage { deliveries: rows.into_iter().map(with_tries).collect(), has_more })
}

/// Events of a project behind a place in the feed, in its order, up to `most`; a bounded piece of it in each statement.
async fn behind(
    session: &Session,
    project: ProjectId,
    (mut xid, mut seq): (String, i64),
    most: usize,
) -> Result<Vec<Told>, Failure> {
    let mut events: Vec<Told> = Vec::new();
    loop {
        let missing = limit_of(most - events.len());
        let rows = session.rows(sql::REPLAY_PAGE, &[&xid, &seq, &project.0, &REPLAY_ROUND, &missing]).await?;
        for row in &rows {
            if get::<Option<Uuid>>(row, 3)?.is_some() {
                events.push(told_from(row)?);
            }
        }
        let Some(first) = rows.first() else { return Ok(events) };
        if events.len() >= most || !get::<bool>(first, 2)? {
            return Ok(events);
        }
        (xid, seq) = (get(first, 0)?, get(first, 1)?);
    }
}

fn told_from(row: &Row) -> Read<Told> {
    let kind = EventKind::from_number(get(row, 5)?).ok_or_else(|| unreadable("an event of an unknown kind"))?;
    let ver = u32::try_from(get::<i32>(row, 4)?).map_err(unreadable)?;
    Ok(Told { job: job_id(row, 3)?, ver, kind, at: get(row, 6)? })
}

/// Makes them due for an endpoint. How many.
async fn order(session: &Session, endpoint: EndpointId, events: &[Told], now: Option<i64>) -> Result<usize, Failure> {
    if events.is_empty() {
        return Ok(0);
    }
    let jobs: Vec<Uuid> = events.iter().map(|event| uuid_of(event.job)).collect();
    let vers: Vec<i32> = events.iter().map(|event| number(event.ver)).collect();
    let kinds: Vec<i16> = events.iter().map(|event| event.kind.number()).collect();
    let times: Vec<i64> = events.iter().map(|event| event.at).collect();
    let values: [&(dyn ToSql + Sync); 6] = [&endpoint.0, &jobs, &vers, &kinds, &times, &now];
    let saved = async {
        let (begun, locked, row) =
            futures::join!(session.begin(), session.command(REPLAY), session.row(sql::REPLAY_SAVE, &values));
        begun?;
        locked?;
        row
    };
    let row = session.commit_with(saved).await?.ok_or_else(|| unreadable("no answer"))?;
    Ok(usize::try_from(get::<i64>(&row, 0)?).unwrap_or(0))
}

/// The columns of `take_deliveries.sql`.
fn due_from(row: &Row) -> Read<Due> {
    let delivery = delivery_from(row)?;
    let event = match get::<Option<i32>>(row, DELIVERY + ENDPOINT)? {
        None => None,
        Some(_) => Some(event_from(row, DELIVERY + ENDPOINT, delivery.job)?),
    };
    Ok(Due { endpoint: endpoint_from(row, DELIVERY)?, event, delivery })
}

#[async_trait]
impl WebhookStore for PostgresStore {
    async fn create_endpoint(&self, endpoint: NewEndpoint) -> Result<Option<Endpoint>, StoreError> {
        Ok(repeated!(self, self.try_create_endpoint(&endpoint))?)
    }

    async fn endpoints(&self, project: ProjectId) -> Result<Vec<Endpoint>, StoreError> {
        Ok(repeated!(self, self.try_endpoints(project))?)
    }

    async fn endpoint(&self, project: ProjectId, endpoint: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        Ok(repeated!(self, self.try_endpoint(project, endpoint))?)
    }

    async fn change_endpoint(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>, StoreError> {
        Ok(repeated!(self, self.try_change_endpoint(project, endpoint, &change))?)
    }

    async fn origin_endpoint(&self, project: ProjectId, origin: &str) -> Result<EndpointId, StoreError> {
        Ok(repeated!(self, self.try_origin(project, origin))?)
    }

    async fn take_deliveries(&self, room: &Room) -> Result<Vec<Due>, StoreError> {
        Ok(repeated!(self, self.try_take(room))?)
    }

    async fn finish_deliveries(&self, tried: Vec<Tried>) -> Result<(), StoreError> {
        Ok(repeated!(self, self.try_finish(&tried))?)
    }

    async fn next_delivery_at(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(repeated!(self, self.try_next())?)
    }

    async fn deliveries(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<DeliveryPage>, StoreError> {
        Ok(repeated!(self, self.try_deliveries(project, endpoint, after, limit))?)
    }

    async fn redeliver(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        Ok(repeated!(self, self.try_redeliver(project, endpoint, delivery))?)
    }

    async fn job_deliveries(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<JobDeliveries>, StoreError> {
        Ok(repeated!(self, self.try_job_deliveries(project, job, after, limit))?)
    }

    async fn redeliver_of_job(
        &self,
        project: ProjectId,
        job: JobId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        Ok(repeated!(self, self.try_redeliver_of_job(project, job, delivery))?)
    }

    async fn replay(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: (JobId, u32),
        limit: usize,
    ) -> Result<Option<Replayed>, StoreError> {
        Ok(repeated!(self, self.try_replay(project, endpoint, after, limit))?)
    }
}
