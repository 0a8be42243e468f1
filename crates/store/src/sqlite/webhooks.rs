//! Endpoints and deliveries. A delivery has no owner: it is leased by its due time, and whoever comes back writes what the
//! try came to.
//!
//! A look on a reader's connection comes before a take, since most find nothing. Endpoints are found by one probe each:
//! what waits at one that is left alone costs nothing. Absent: HTTP, signatures.

use async_trait::async_trait;
use longtake_core::event::{EventKind, JobEvent};
use longtake_core::id::{DeliveryId, EndpointId, JobId, ProjectId};
use longtake_core::record::Record;
use longtake_core::store::StoreError;
use longtake_core::time::Timestamp;
use longtake_core::webhook::{
    Delivery, DeliveryPage, Due, Endpoint, EndpointChange, EndpointStatus, EventTypes, JobDeliveries, NewEndpoint,
    Replayed, Room, Tried, Try,
};
use longtake_core::webhook_store::WebhookStore;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result, params};
use serde::Serialize;

use super::change::Change;
use super::writer::Kind;
use super::{SqliteStore, job_deliveries, load, sql};
use crate::rows::webhooks::{DELIVERY, ENDPOINT, delivery_from, endpoint_from, salts_text, stored_due_at, try_from};
use crate::rows::{corrupt, event_from, job_id};
use crate::tried::Loaded;

/// Most endpoints that one call looks at; the first by number, and those that were served are due later.
const MAX_WAITING: i64 = 10_000;
/// Events looked at in one read of a replay.
const REPLAY_ROUND: i64 = 5_000;

/// A list for `json_each`.
fn text_of(items: impl IntoIterator<Item = impl Serialize>) -> Result<String> {
    serde_json::to_string(&items.into_iter().collect::<Vec<_>>()).map_err(corrupt)
}

/// Any endpoint.
fn endpoint(connection: &Connection, endpoint: EndpointId) -> Result<Option<Endpoint>> {
    load::first(connection, sql::ENDPOINT_GET, [endpoint.0], |row| endpoint_from(row, 0))
}

/// What a client may see of an endpoint that clients made.
fn own(connection: &Connection, project: ProjectId, id: EndpointId) -> Result<Option<Endpoint>> {
    let shown = |endpoint: &Endpoint| {
        endpoint.project == project && endpoint.url.is_some() && endpoint.status != EndpointStatus::Deleted
    };
    Ok(endpoint(connection, id)?.filter(shown))
}

fn all_own(connection: &Connection, project: ProjectId) -> Result<Vec<Endpoint>> {
    let most = load::limit_of(Endpoint::MAX_PER_PROJECT);
    load::all(connection, sql::ENDPOINTS, params![project.0, most], |row| endpoint_from(row, 0))
}

/// An endpoint of which something is due, and what is done about it.
enum Waiting {
    /// It is told nothing any more.
    Over(EndpointId),
    /// It is suspect, and the time of its oldest due delivery is over.
    Exhausted(EndpointId),
    /// Its deliveries are taken.
    Ready(Endpoint),
}

/// Those that are not left alone.
fn waiting(connection: &Connection, now: Timestamp) -> Result<Vec<Waiting>> {
    let begun_before = (now - Delivery::LIFE).as_micros();
    let params = params![now.as_micros(), Endpoint::CIRCUIT_FAILURES, begun_before, MAX_WAITING];
    load::all(connection, sql::ENDPOINTS_WAITING, params, |row| {
        let endpoint = endpoint_from(row, 0)?;
        let oldest_is_over = row.get::<_, i64>(ENDPOINT)? < begun_before;
        Ok(match endpoint.status {
            EndpointStatus::Enabled if endpoint.is_suspect() && oldest_is_over => Waiting::Exhausted(endpoint.id),
            EndpointStatus::Enabled => Waiting::Ready(endpoint),
            _ => Waiting::Over(endpoint.id),
        })
    })
}

/// Deliveries that are due, the oldest first, each with its event unless that is gone.
fn due(
    connection: &Connection,
    endpoint: EndpointId,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(Delivery, Option<JobEvent>)>> {
    let params = params![endpoint.0, now.as_micros(), load::limit_of(limit)];
    load::all(connection, sql::DELIVERY_DUE, params, |row| {
        let delivery = delivery_from(row)?;
        let is_known = row.get_ref(DELIVERY)? != ValueRef::Null;
        let event = is_known.then(|| event_from(row, DELIVERY, delivery.job)).transpose()?;
        Ok((delivery, event))
    })
}

/// Whether there is anything to be taken or to be ended.
fn is_any_due(connection: &Connection, room: &Room, now: Timestamp) -> Result<bool> {
    if room.limit == 0 {
        return Ok(false);
    }
    for waiting in waiting(connection, now)? {
        let Waiting::Ready(endpoint) = waiting else { return Ok(true) };
        let most = room.of(&endpoint, now).min(1);
        if !due(connection, endpoint.id, now, most)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A page of these rows, of which there is one more than it may hold where there is more; each with its tries.
pub(super) fn page_of(connection: &Connection, mut rows: Vec<Delivery>, limit: usize) -> Result<DeliveryPage> {
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let with_tries = |row: Delivery| {
        let tries: Vec<Try> = load::all(connection, sql::TRIES, [row.id.0], try_from)?;
        Ok((row, tries))
    };
    Ok(DeliveryPage { deliveries: rows.into_iter().map(with_tries).collect::<Result<_>>()?, has_more })
}

fn page(
    connection: &Connection,
    project: ProjectId,
    endpoint: EndpointId,
    after: Option<DeliveryId>,
    limit: usize,
) -> Result<Option<DeliveryPage>> {
    if own(connection, project, endpoint)?.is_none() {
        return Ok(None);
    }
    let before = after.map_or(i64::MAX, |after| after.0);
    let params = params![endpoint.0, before, load::limit_of(limit.saturating_add(1))];
    let rows = load::all(connection, sql::DELIVERIES, params, delivery_from)?;
    page_of(connection, rows, limit).map(Some)
}

/// The place of an event in the feed, and of the newest one; `None` if the project has no such event or endpoint.
fn replay_from(
    connection: &Connection,
    project: ProjectId,
    endpoint: EndpointId,
    (job, ver): (JobId, u32),
) -> Result<Option<(i64, i64)>> {
    if own(connection, project, endpoint)?.is_none() {
        return Ok(None);
    }
    let key = params![job.as_bytes(), ver, project.0];
    let Some(from) = load::first(connection, sql::EVENT_SEQ, key, |row| row.get(0))? else { return Ok(None) };
    let last = load::first(connection, sql::FEED_LAST, [], |row| row.get(0))?.unwrap_or(from);
    Ok(Some((from, last)))
}

/// The project's events among the next ones behind a place, and how far that is; it is looked no further than `last`.
fn replay_round(
    connection: &Connection,
    project: ProjectId,
    from: i64,
    last: i64,
    most: usize,
) -> Result<(Vec<(JobId, u32)>, i64)> {
    let border: Option<i64> = load::first(connection, sql::FEED_END, [from, REPLAY_ROUND - 1], |row| row.get(0))?;
    let end = border.unwrap_or(last).min(last);
    let params = params![from, end, project.0, load::limit_of(most)];
    let told = load::all(connection, sql::REPLAY_PAGE, params, |row| Ok((job_id(row, 1)?, row.get(2)?)))?;
    Ok((told, end))
}

impl Change<'_> {
    /// Everyone who wants to hear of an event gets a delivery.
    pub fn announce(&self, record: &Record, ver: u32, kind: EventKind) -> Result<()> {
        // A read first, which mostly finds nobody: an insert would touch each index.
        let who = params![record.project.0, kind.number(), record.job.as_bytes()];
        let told = load::all(self.connection, sql::ENDPOINTS_TOLD, who, |row| Ok(EndpointId(row.get(0)?)))?;
        told.into_iter().try_for_each(|endpoint| self.add_delivery(endpoint, (record.job, ver), kind, self.now))
    }

    /// Due now.
    fn add_delivery(
        &self,
        endpoint: EndpointId,
        (job, ver): (JobId, u32),
        kind: EventKind,
        at: Timestamp,
    ) -> Result<()> {
        let (at, now) = (at.as_micros(), self.now.as_micros());
        self.run(sql::DELIVERY_INSERT, params![endpoint.0, job.as_bytes(), ver, kind.number(), at, now])?;
        Ok(())
    }

    fn save_delivery(&self, delivery: &Delivery) -> Result<()> {
        let Delivery { id, state, tries, begun_at, .. } = delivery;
        let due_at = stored_due_at(delivery);
        self.run(sql::DELIVERY_UPDATE, params![id.0, state.number(), due_at, tries, begun_at.as_micros()])?;
        Ok(())
    }

    fn add_endpoint(&self, endpoint: Endpoint) -> Result<Endpoint> {
        let params = params![
            endpoint.project.0,
            endpoint.url,
            endpoint.origin,
            endpoint.types.bits(),
            endpoint.description,
            endpoint.status.number(),
            salts_text(&endpoint.salts)?,
            endpoint.created_at.as_micros(),
        ];
        let id = self.connection.prepare_cached(sql::ENDPOINT_INSERT)?.query_row(params, |row| row.get(0))?;
        Ok(Endpoint { id: EndpointId(id), ..endpoint })
    }

    fn save_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        self.run(
            sql::ENDPOINT_UPDATE,
            params![
                endpoint.id.0,
                endpoint.url,
                endpoint.types.bits(),
                endpoint.description,
                endpoint.status.number(),
                salts_text(&endpoint.salts)?,
                endpoint.failures,
                endpoint.open_until.as_micros(),
            ],
        )?;
        Ok(())
    }

    /// An endpoint of a client, unless there are enough.
    fn create_endpoint(&self, new: NewEndpoint) -> Result<Option<Endpoint>> {
        if all_own(self.connection, new.project)?.len() >= Endpoint::MAX_PER_PROJECT {
            return Ok(None);
        }
        self.add_endpoint(Endpoint::of_client(new, self.now)).map(Some)
    }

    fn change_endpoint(&self, project: ProjectId, id: EndpointId, change: &EndpointChange) -> Result<Option<Endpoint>> {
        let Some(known) = own(self.connection, project, id)? else { return Ok(None) };
        let changed = change.apply(known, self.now);
        self.save_endpoint(&changed)?;
        Ok(Some(changed))
    }

    fn origin_endpoint(&self, project: ProjectId, origin: &str) -> Result<EndpointId> {
        let known = |origin: &str| {
            load::first(self.connection, sql::ORIGIN_GET, params![project.0, origin], |row| Ok(EndpointId(row.get(0)?)))
        };
        if let Some(id) = known(origin)? {
            return Ok(id);
        }
        let told_apart: i64 =
            self.connection.prepare_cached(sql::ORIGINS_COUNT)?.query_row([project.0], |row| row.get(0))?;
        let origin = if told_apart >= load::limit_of(Endpoint::MAX_ORIGINS) { "" } else { origin };
        match known(origin)? {
            Some(id) => Ok(id),
            None => Ok(self.add_endpoint(Endpoint::of_origin(project, origin, self.now))?.id),
        }
    }

    /// Takes what is due, as far as there is room, and ends what nobody is to hear any more.
    fn take_deliveries(&self, room: &Room) -> Result<Vec<Due>> {
        let mut ends = room.limit;
        let mut found: Vec<(usize, Due)> = Vec::new();
        let (now, limit) = (self.now.as_micros(), load::limit_of(room.limit));
        for waiting in waiting(self.connection, self.now)? {
            let most = load::limit_of(ends);
            match waiting {
                Waiting::Over(endpoint) => ends -= self.run(sql::DELIVERIES_END, params![endpoint.0, now, most])?,
                Waiting::Exhausted(endpoint) => {
                    let begun_before = (self.now - Delivery::LIFE).as_micros();
                    let params = params![endpoint.0, now, limit, begun_before, most];
                    ends -= self.run(sql::DELIVERIES_EXHAUST, params)?;
                }
                Waiting::Ready(endpoint) => {
                    let most = room.of(&endpoint, self.now).min(room.limit);
                    let due = due(self.connection, endpoint.id, self.now, most)?;
                    let ranked = (room.under_way(endpoint.id)..).zip(due);
                    found.extend(
                        ranked.map(|(rank, (delivery, event))| {
                            (rank, Due { delivery, endpoint: endpoint.clone(), event })
                        }),
                    );
                }
            }
        }
        found.sort_unstable_by_key(|(rank, due)| (*rank, due.delivery.due_at, due.delivery.id));
        found.truncate(room.limit);
        let mut taken: Vec<Due> = found.into_iter().map(|(_, due)| due).collect();
        let leased_until = self.now + room.lease;
        taken.iter_mut().for_each(|due| due.delivery.due_at = leased_until);
        let ids = text_of(taken.iter().map(|due| due.delivery.id.0))?;
        self.run(sql::DELIVERIES_LEASE, params![ids, leased_until.as_micros()])?;
        Ok(taken)
    }

    /// A few statements for all of them.
    fn finish_deliveries(&self, tried: &[Tried]) -> Result<()> {
        let ids = text_of(tried.iter().map(|item| item.delivery.0))?;
        let rows = load::all(self.connection, sql::DELIVERIES_TRIED, [ids], |row| {
            Ok((delivery_from(row)?, endpoint_from(row, DELIVERY)?))
        })?;
        let mut loaded = Loaded::new(self.now, rows);
        let changed = loaded.changed(tried);
        let noted = loaded.note(tried);
        let tries = noted.iter().map(|(n, Tried { delivery, log: Try { at, status, duration_ms, words }, .. })| {
            (delivery.0, n, at.as_micros(), status, duration_ms, words)
        });
        self.run(sql::TRIES_INSERT, [text_of(tries)?])?;
        for (n, item) in &noted {
            if let Some(last) = i64::from(*n).checked_sub(load::limit_of(Try::MAX_KEPT)).filter(|last| *last > 0) {
                self.run(sql::TRY_TRIM, params![item.delivery.0, last])?;
            }
        }
        let saved = loaded.deliveries().map(|row| (row.id.0, row.state.number(), stored_due_at(row), row.tries));
        self.run(sql::DELIVERIES_SAVE, [text_of(saved)?])?;
        loaded.endpoints(&changed).into_iter().try_for_each(|endpoint| self.save_endpoint(endpoint))
    }

    fn redeliver(&self, project: ProjectId, endpoint: EndpointId, id: DeliveryId) -> Result<Option<Delivery>> {
        if own(self.connection, project, endpoint)?.is_none() {
            return Ok(None);
        }
        let known = load::first(self.connection, sql::DELIVERY_GET, [id.0], delivery_from)?;
        known.filter(|known| known.endpoint == endpoint).map(|known| self.again(known)).transpose()
    }

    /// Due now, with all its time.
    pub(super) fn again(&self, mut delivery: Delivery) -> Result<Delivery> {
        delivery.again(self.now);
        self.save_delivery(&delivery)?;
        Ok(delivery)
    }

    /// Those of the events that the endpoint wants. How many; `None` where the endpoint went meanwhile.
    fn replay(&self, project: ProjectId, endpoint: EndpointId, events: &[(JobId, u32)]) -> Result<Option<usize>> {
        let Some(known) = own(self.connection, project, endpoint)? else { return Ok(None) };
        let mut ordered = 0;
        for told in events {
            ordered += usize::from(self.order(endpoint, known.types, *told)?);
        }
        Ok(Some(ordered))
    }

    /// Whether the endpoint wants it; then it is due.
    fn order(&self, endpoint: EndpointId, types: EventTypes, (job, ver): (JobId, u32)) -> Result<bool> {
        let key = params![job.as_bytes(), ver];
        let event = load::first(self.connection, sql::EVENT_GET, key, |row| event_from(row, 0, job))?;
        let Some(event) = event.filter(|event| types.has(event.kind)) else { return Ok(false) };
        let key = params![job.as_bytes(), ver, endpoint.0];
        match load::first(self.connection, sql::DELIVERY_OF, key, delivery_from)? {
            Some(delivery) => {
                self.again(delivery)?;
            }
            None => self.add_delivery(endpoint, (job, ver), event.kind, event.at)?,
        }
        Ok(true)
    }
}

#[async_trait]
impl WebhookStore for SqliteStore {
    async fn create_endpoint(&self, endpoint: NewEndpoint) -> Result<Option<Endpoint>, StoreError> {
        self.writer.write(Kind::Other, move |change| change.create_endpoint(endpoint)).await
    }

    async fn endpoints(&self, project: ProjectId) -> Result<Vec<Endpoint>, StoreError> {
        self.readers.read(move |connection| all_own(connection, project)).await
    }

    async fn endpoint(&self, project: ProjectId, endpoint: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        self.readers.read(move |connection| own(connection, project, endpoint)).await
    }

    async fn change_endpoint(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>, StoreError> {
        self.writer.write(Kind::Other, move |writer| writer.change_endpoint(project, endpoint, &change)).await
    }

    async fn origin_endpoint(&self, project: ProjectId, origin: &str) -> Result<EndpointId, StoreError> {
        let origin = origin.to_owned();
        let look = origin.clone();
        let known = move |connection: &Connection| {
            load::first(connection, sql::ORIGIN_GET, params![project.0, look], |row| Ok(EndpointId(row.get(0)?)))
        };
        match self.readers.read(known).await? {
            Some(known) => Ok(known),
            None => self.writer.write(Kind::Other, move |change| change.origin_endpoint(project, &origin)).await,
        }
    }

    async fn take_deliveries(&self, room: &Room) -> Result<Vec<Due>, StoreError> {
        // Asked often and mostly in vain: that must not cost the writer a transaction.
        let (now, room) = (self.clock.now(), room.clone());
        let look = room.clone();
        if !self.readers.read(move |connection| is_any_due(connection, &look, now)).await? {
            return Ok(Vec::new());
        }
        self.writer.write(Kind::Other, move |change| change.take_deliveries(&room)).await
    }

    async fn finish_deliveries(&self, tried: Vec<Tried>) -> Result<(), StoreError> {
        self.writer.write(Kind::Other, move |change| change.finish_deliveries(&tried)).await
    }

    async fn next_delivery_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let next = |connection: &Connection| {
            let next: Option<i64> = connection.prepare_cached(sql::DELIVERY_NEXT)?.query_row([], |row| row.get(0))?;
            Ok(next.map(Timestamp::from_micros))
        };
        self.readers.read(next).await
    }

    async fn deliveries(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<DeliveryPage>, StoreError> {
        self.readers.read(move |connection| page(connection, project, endpoint, after, limit)).await
    }

    async fn redeliver(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.writer.write(Kind::Other, move |change| change.redeliver(project, endpoint, delivery)).await
    }

    async fn job_deliveries(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<JobDeliveries>, StoreError> {
        self.readers.read(move |connection| job_deliveries::page(connection, project, job, after, limit)).await
    }

    async fn redeliver_of_job(
        &self,
        project: ProjectId,
        job: JobId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.writer.write(Kind::Other, move |change| change.redeliver_of_job(project, job, delivery)).await
    }

    /// The feed is read in rounds beside the writer, as far as it goes when the call begins.
    async fn replay(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: (JobId, u32),
        limit: usize,
    ) -> Result<Option<Replayed>, StoreError> {
        let from = self.readers.read(move |connection| replay_from(connection, project, endpoint, after)).await?;
        let Some((mut from, last)) = from else { return Ok(None) };
        let mut events: Vec<(JobId, u32)> = Vec::new();
        while from < last && events.len() <= limit {
            let most = limit.saturating_add(1) - events.len();
            let round = move |connection: &Connection| replay_round(connection, project, from, last, most);
            let (told, end) = self.readers.read(round).await?;
            events.extend(told);
            from = end;
        }
        let more = events.len() > limit;
        events.truncate(limit);
        let more_after = events.last().copied().filter(|_| more);
        let replayed = self.writer.write(Kind::Other, move |change| change.replay(project, endpoint, &events)).await?;
        Ok(replayed.map(|deliveries| Replayed { deliveries, more_after }))
    }
}
