//! Endpoints and deliveries: made with events, taken for a while, tried, and kept for the log.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::MemoryStore;
use super::content::Content;
use crate::event::JobEvent;
use crate::id::{DeliveryId, EndpointId, JobId, ProjectId};
use crate::store::StoreError;
use crate::time::Timestamp;
use crate::webhook::{
    Delivery, DeliveryPage, DeliveryState, Due, Endpoint, EndpointChange, EndpointStatus, EventTypes, JobDeliveries,
    NewEndpoint, Replayed, Room, Tried, Try,
};
use crate::webhook_store::WebhookStore;

/// Rows of webhooks.
#[derive(Clone, Default)]
pub(super) struct Webhooks {
    endpoints: BTreeMap<EndpointId, Endpoint>,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    /// One delivery for each event and endpoint.
    by_event: BTreeMap<(JobId, u32, EndpointId), DeliveryId>,
    /// Those to be tried, the oldest due ones of each endpoint first.
    pending: BTreeSet<(EndpointId, Timestamp, DeliveryId)>,
    tries: BTreeMap<DeliveryId, Vec<Try>>,
    last_endpoint: i64,
    last_delivery: i64,
}

impl Webhooks {
    fn add_endpoint(&mut self, endpoint: Endpoint) -> EndpointId {
        self.last_endpoint += 1;
        let id = EndpointId(self.last_endpoint);
        self.endpoints.insert(id, Endpoint { id, ..endpoint });
        id
    }

    /// Unless it is there.
    fn add_delivery(&mut self, endpoint: EndpointId, event: &JobEvent) {
        let key = (event.job, event.ver, endpoint);
        if self.by_event.contains_key(&key) {
            return;
        }
        self.last_delivery += 1;
        let id = DeliveryId(self.last_delivery);
        self.by_event.insert(key, id);
        self.put(Delivery::new(id, endpoint, event));
    }

    /// A delivery as it now is.
    fn put(&mut self, delivery: Delivery) {
        let key = |delivery: &Delivery| (delivery.endpoint, delivery.due_at, delivery.id);
        if let Some(before) = self.deliveries.get(&delivery.id) {
            self.pending.remove(&key(before));
        }
        if delivery.state == DeliveryState::Pending {
            self.pending.insert(key(&delivery));
        }
        self.deliveries.insert(delivery.id, delivery);
    }

    /// Whether an earlier event of its job is pending there and was never tried.
    fn is_blocked(&self, delivery: &Delivery) -> bool {
        let first = (delivery.job, 0, EndpointId(i64::MIN));
        let mut earlier = self.by_event.range(first..(delivery.job, delivery.ver, EndpointId(i64::MIN)));
        earlier.any(|((.., endpoint), id)| {
            let row = self.deliveries.get(id).filter(|_| *endpoint == delivery.endpoint);
            row.is_some_and(|row| row.state == DeliveryState::Pending && row.tries == 0)
        })
    }

    /// Those due by now, the oldest first, whatever blocks them.
    fn due(&self, endpoint: EndpointId, now: Timestamp) -> impl Iterator<Item = &Delivery> {
        let first = (endpoint, Timestamp::from_micros(i64::MIN), DeliveryId(i64::MIN));
        let due = self.pending.range(first..=(endpoint, now, DeliveryId(i64::MAX)));
        due.filter_map(|(.., id)| self.deliveries.get(id))
    }

    /// What a client may see of an endpoint that clients made.
    fn own(&self, project: ProjectId, endpoint: EndpointId) -> Option<&Endpoint> {
        let shown = |endpoint: &&Endpoint| {
            endpoint.project == project && endpoint.url.is_some() && endpoint.status != EndpointStatus::Deleted
        };
        self.endpoints.get(&endpoint).filter(shown)
    }

    /// The newest of these, with their tries, behind one of them.
    fn page(&self, of: impl Fn(&Delivery) -> bool, after: Option<DeliveryId>, limit: usize) -> DeliveryPage {
        let rows = self.deliveries.values().rev().filter(|row| of(row) && after.is_none_or(|after| row.id < after));
        let mut deliveries: Vec<_> = rows
            .take(limit.saturating_add(1))
            .map(|row| (row.clone(), self.tries.get(&row.id).cloned().unwrap_or_default()))
            .collect();
        let has_more = deliveries.len() > limit;
        deliveries.truncate(limit);
        DeliveryPage { deliveries, has_more }
    }

    fn again(&mut self, delivery: &Delivery, now: Timestamp) -> Delivery {
        let mut again = delivery.clone();
        again.again(now);
        self.put(again.clone());
        again
    }

    /// Removes endpoints that their clients removed and of which no delivery is left. How many.
    pub fn forget_endpoints(&mut self, limit: usize) -> usize {
        let told: BTreeSet<EndpointId> = self.deliveries.values().map(|delivery| delivery.endpoint).collect();
        let over = |endpoint: &&Endpoint| endpoint.status == EndpointStatus::Deleted && !told.contains(&endpoint.id);
        let gone: Vec<EndpointId> =
            self.endpoints.values().filter(over).map(|endpoint| endpoint.id).take(limit).collect();
        for endpoint in &gone {
            self.endpoints.remove(endpoint);
        }
        gone.len()
    }

    /// With the job.
    pub fn forget(&mut self, job: JobId) {
        let gone: Vec<DeliveryId> =
            self.by_event.extract_if(.., |(of, ..), _| *of == job).map(|(_, delivery)| delivery).collect();
        for id in gone {
            self.tries.remove(&id);
            if let Some(delivery) = self.deliveries.remove(&id) {
                self.pending.remove(&(delivery.endpoint, delivery.due_at, id));
            }
        }
    }
}

impl Content {
    /// Everyone who wants to hear of it.
    pub fn announce(&mut self, event: &JobEvent) {
        let Some(row) = self.jobs.get(&event.job) else { return };
        let project = row.record.project;
        let wants = |endpoint: &&Endpoint| {
            let own = endpoint.project == project && endpoint.url.is_some();
            own && endpoint.status == EndpointStatus::Enabled && endpoint.types.has(event.kind)
        };
        let mut endpoints: Vec<EndpointId> =
            self.webhooks.endpoints.values().filter(wants).map(|endpoint| endpoint.id).collect();
        let video = row.request.webhook.as_ref().filter(|webhook| webhook.types.has(event.kind));
        endpoints.extend(video.map(|webhook| webhook.endpoint));
        for endpoint in endpoints {
            self.webhooks.add_delivery(endpoint, event);
        }
    }

    fn event(&self, job: JobId, ver: u32) -> Option<&JobEvent> {
        self.events.get(&job)?.iter().find(|event| event.ver == ver)
    }

    fn create_endpoint(&mut self, new: NewEndpoint, now: Timestamp) -> Option<Endpoint> {
        let project = new.project;
        let made = self.webhooks.endpoints.keys().filter(|id| self.webhooks.own(project, **id).is_some()).count();
        if made >= Endpoint::MAX_PER_PROJECT {
            return None;
        }
        let id = self.webhooks.add_endpoint(Endpoint::of_client(new, now));
        self.webhooks.endpoints.get(&id).cloned()
    }

    fn change_endpoint(
        &mut self,
        project: ProjectId,
        endpoint: EndpointId,
        change: &EndpointChange,
        now: Timestamp,
    ) -> Option<Endpoint> {
        let changed = change.apply(self.webhooks.own(project, endpoint)?.clone(), now);
        self.webhooks.endpoints.insert(endpoint, changed.clone());
        Some(changed)
    }

    fn origin_endpoint(&mut self, project: ProjectId, origin: &str, now: Timestamp) -> EndpointId {
        let origins = || {
            self.webhooks.endpoints.values().filter(|endpoint| endpoint.project == project && endpoint.url.is_none())
        };
        let known = |origin: &str| origins().find(|endpoint| &*endpoint.origin == origin).map(|endpoint| endpoint.id);
        let full = origins().filter(|endpoint| !endpoint.origin.is_empty()).count() >= Endpoint::MAX_ORIGINS;
        let origin = if full && known(origin).is_none() { "" } else { origin };
        match known(origin) {
            Some(id) => id,
            None => self.webhooks.add_endpoint(Endpoint::of_origin(project, origin, now)),
        }
    }

    fn take_deliveries(&mut self, room: &Room, now: Timestamp) -> Vec<Due> {
        let mut ends = room.limit;
        let mut found: Vec<(usize, Timestamp, DeliveryId)> = Vec::new();
        let endpoints: Vec<Endpoint> = self.webhooks.endpoints.values().cloned().collect();
        for endpoint in endpoints {
            let oldest_is_over = self.webhooks.due(endpoint.id, now).next().is_some_and(|oldest| oldest.is_over(now));
            if endpoint.status != EndpointStatus::Enabled {
                let due = self.webhooks.due(endpoint.id, now);
                let ended: Vec<DeliveryId> = due.map(|delivery| delivery.id).take(ends).collect();
                ends -= self.end(ended, DeliveryState::Disabled);
            } else if endpoint.is_suspect() && oldest_is_over {
                let due = self.webhooks.due(endpoint.id, now).take(room.limit);
                let over = due.filter(|delivery| delivery.is_over(now)).map(|delivery| delivery.id);
                let over: Vec<DeliveryId> = over.take(ends).collect();
                ends -= self.end(over, DeliveryState::Exhausted);
            } else {
                let due = self.webhooks.due(endpoint.id, now).filter(|delivery| !self.webhooks.is_blocked(delivery));
                let due = due.take(room.of(&endpoint, now)).zip(room.under_way(endpoint.id)..);
                found.extend(due.map(|(delivery, rank)| (rank, delivery.due_at, delivery.id)));
            }
        }
        found.sort_unstable();
        found.truncate(room.limit);
        found.into_iter().filter_map(|(.., id)| self.take_delivery(id, room, now)).collect()
    }

    fn take_delivery(&mut self, id: DeliveryId, room: &Room, now: Timestamp) -> Option<Due> {
        let delivery = Delivery { due_at: now + room.lease, ..self.webhooks.deliveries.get(&id)?.clone() };
        self.webhooks.put(delivery.clone());
        let endpoint = self.webhooks.endpoints.get(&delivery.endpoint)?.clone();
        let event = self.event(delivery.job, delivery.ver).cloned();
        Some(Due { delivery, endpoint, event })
    }

    /// Those that are not tried any more. How many.
    fn end(&mut self, ended: Vec<DeliveryId>, state: DeliveryState) -> usize {
        let due_at = Timestamp::NEVER;
        for id in &ended {
            if let Some(delivery) = self.webhooks.deliveries.get(id).cloned() {
                self.webhooks.put(Delivery { state, due_at, ..delivery });
            }
        }
        ended.len()
    }

    fn finish_delivery(&mut self, tried: Tried, now: Timestamp) {
        let Some(mut delivery) = self.webhooks.deliveries.get(&tried.delivery).cloned() else { return };
        delivery.note(tried.answer, tried.log.at, now, tried.jitter);
        if let Some(endpoint) = self.webhooks.endpoints.get_mut(&delivery.endpoint) {
            *endpoint = endpoint.clone().after(&tried, now);
        }
        self.webhooks.put(delivery);
        let tries = self.webhooks.tries.entry(tried.delivery).or_default();
        tries.push(tried.log);
        tries.drain(..tries.len().saturating_sub(Try::MAX_KEPT));
    }

    fn deliveries(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Option<DeliveryPage> {
        self.webhooks.own(project, endpoint)?;
        Some(self.webhooks.page(|row| row.endpoint == endpoint, after, limit))
    }

    fn job_deliveries(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Option<JobDeliveries> {
        self.visible(project, job)?;
        let own = self.jobs.get(&job)?.request.webhook.as_ref().map(|webhook| webhook.endpoint);
        Some(JobDeliveries { page: self.webhooks.page(|row| row.job == job, after, limit), own })
    }

    fn redeliver_of_job(
        &mut self,
        project: ProjectId,
        job: JobId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Option<Delivery> {
        self.visible(project, job)?;
        let delivery = self.webhooks.deliveries.get(&delivery).filter(|row| row.job == job)?.clone();
        Some(self.webhooks.again(&delivery, now))
    }

    fn redeliver(
        &mut self,
        project: ProjectId,
        endpoint: EndpointId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Option<Delivery> {
        self.webhooks.own(project, endpoint)?;
        let delivery = self.webhooks.deliveries.get(&delivery).filter(|row| row.endpoint == endpoint)?.clone();
        Some(self.webhooks.again(&delivery, now))
    }

    fn replay(
        &mut self,
        project: ProjectId,
        endpoint: EndpointId,
        after: (JobId, u32),
        limit: usize,
        now: Timestamp,
    ) -> Option<Replayed> {
        let types = self.webhooks.own(project, endpoint)?.types;
        self.jobs.get(&after.0).filter(|row| row.record.project == project)?;
        let place = self.feed.iter().position(|told| *told == Some(after))?;
        let own = |(job, _): &(JobId, u32)| self.jobs.get(job).is_some_and(|row| row.record.project == project);
        let mut behind = self.feed.iter().skip(place + 1).flatten().filter(|told| own(told)).copied();
        let events: Vec<(JobId, u32)> = behind.by_ref().take(limit).collect();
        let more = behind.next().is_some();
        let last = events.last().copied();
        let deliveries = events.into_iter().filter(|(job, ver)| self.order(*job, *ver, endpoint, types, now)).count();
        Some(Replayed { deliveries, more_after: last.filter(|_| more) })
    }

    /// Whether the endpoint wants it.
    fn order(&mut self, job: JobId, ver: u32, endpoint: EndpointId, types: EventTypes, now: Timestamp) -> bool {
        let Some(event) = self.event(job, ver).filter(|event| types.has(event.kind)).cloned() else { return false };
        self.webhooks.add_delivery(endpoint, &event);
        let id = self.webhooks.by_event.get(&(job, ver, endpoint)).copied();
        if let Some(delivery) = id.and_then(|id| self.webhooks.deliveries.get(&id).cloned()) {
            self.webhooks.again(&delivery, now);
        }
        true
    }
}

#[async_trait]
impl WebhookStore for MemoryStore {
    async fn create_endpoint(&self, endpoint: NewEndpoint) -> Result<Option<Endpoint>, StoreError> {
        Ok(self.commit(|content, now| content.create_endpoint(endpoint, now)))
    }

    async fn endpoints(&self, project: ProjectId) -> Result<Vec<Endpoint>, StoreError> {
        let content = self.content();
        let own = content.webhooks.endpoints.keys().filter_map(|id| content.webhooks.own(project, *id));
        Ok(own.cloned().collect())
    }

    async fn endpoint(&self, project: ProjectId, endpoint: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        Ok(self.content().webhooks.own(project, endpoint).cloned())
    }

    async fn change_endpoint(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>, StoreError> {
        Ok(self.commit(|content, now| content.change_endpoint(project, endpoint, &change, now)))
    }

    async fn origin_endpoint(&self, project: ProjectId, origin: &str) -> Result<EndpointId, StoreError> {
        Ok(self.commit(|content, now| content.origin_endpoint(project, origin, now)))
    }

    async fn take_deliveries(&self, room: &Room) -> Result<Vec<Due>, StoreError> {
        Ok(self.commit(|content, now| content.take_deliveries(room, now)))
    }

    async fn finish_deliveries(&self, tried: Vec<Tried>) -> Result<(), StoreError> {
        self.commit(|content, now| tried.into_iter().for_each(|item| content.finish_delivery(item, now)));
        Ok(())
    }

    async fn next_delivery_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let content = self.content();
        let open_until = |id| content.webhooks.endpoints.get(id).map(|endpoint| endpoint.open_until);
        let pending = content.webhooks.pending.iter();
        Ok(pending.map(|(id, due_at, _)| open_until(id).map_or(*due_at, |open| open.max(*due_at))).min())
    }

    async fn deliveries(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<DeliveryPage>, StoreError> {
        Ok(self.content().deliveries(project, endpoint, after, limit))
    }

    async fn redeliver(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        Ok(self.commit(|content, now| content.redeliver(project, endpoint, delivery, now)))
    }

    async fn job_deliveries(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<JobDeliveries>, StoreError> {
        Ok(self.content().job_deliveries(project, job, after, limit))
    }

    async fn redeliver_of_job(
        &self,
        project: ProjectId,
        job: JobId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        Ok(self.commit(|content, now| content.redeliver_of_job(project, job, delivery, now)))
    }

    async fn replay(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: (JobId, u32),
        limit: usize,
    ) -> Result<Option<Replayed>, StoreError> {
        Ok(self.commit(|content, now| content.replay(project, endpoint, after, limit, now)))
    }
}
