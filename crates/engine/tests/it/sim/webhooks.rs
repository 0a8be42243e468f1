//! Receivers of webhooks, and the rows of webhooks as one process reaches them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use longtake_core::id::{DeliveryId, EndpointId, JobId, ProjectId};
use longtake_core::store::StoreError;
use longtake_core::time::{Clock, Timestamp};
use longtake_core::webhook::{
    Answer, Delivery, DeliveryPage, Due, Endpoint, EndpointChange, JobDeliveries, NewEndpoint, Replayed, Room, Sent,
    Tried, WebhookSender,
};
use longtake_core::webhook_store::WebhookStore;

use super::clock::{Gate, SimClock, pause};
use super::store::{Kind, StoreHandle};

/// How a receiver behaves, until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// Takes it, after so long.
    Takes(Duration),
    /// Never answers.
    Hangs,
    /// Answers 500 until then, after that it takes.
    FailsUntil(Timestamp),
    /// Answers 410.
    Gone,
}

/// Of a receiver that hangs, so much later the sender gives up.
const TRY_TIMEOUT: Duration = Duration::from_secs(15);

/// One delivery as its receiver saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub endpoint: EndpointId,
    pub job: JobId,
    pub ver: u32,
    /// When the event was committed, and when the request arrived.
    pub event_at: Timestamp,
    pub arrived_at: Timestamp,
    pub taken: bool,
}

/// All receivers: they outlive every process.
pub struct Receivers {
    clock: SimClock,
    behave: Mutex<BTreeMap<EndpointId, Receiver>>,
    seen: Mutex<Vec<Seen>>,
}

impl Receivers {
    pub fn new(clock: SimClock) -> Arc<Self> {
        Arc::new(Self { clock, behave: Mutex::default(), seen: Mutex::default() })
    }

    pub fn set(&self, endpoint: EndpointId, receiver: Receiver) {
        self.behave.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint, receiver);
    }

    /// Every request, in the order of arrival.
    pub fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way of one process to them.
pub struct SimSender {
    pub receivers: Arc<Receivers>,
    pub gate: Gate,
}

#[async_trait]
impl WebhookSender for SimSender {
    async fn send(&self, due: &Due) -> Option<Sent> {
        self.gate.pass().await;
        let endpoint = due.delivery.endpoint;
        let receiver = self.receivers.behave.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint).copied();
        let receiver = receiver.unwrap_or(Receiver::Takes(Duration::from_millis(5)));
        let arrived_at = self.receivers.clock.now();
        let (status, wait) = match receiver {
            Receiver::Takes(wait) => (Some(200), wait),
            Receiver::Hangs => (None, TRY_TIMEOUT),
            Receiver::FailsUntil(end) => (Some(if arrived_at < end { 500 } else { 200 }), Duration::from_millis(5)),
            Receiver::Gone => (Some(410), Duration::from_millis(5)),
        };
        let Delivery { job, ver, at: event_at, .. } = due.delivery;
        let taken = status == Some(200);
        self.receivers.seen().push(Seen { endpoint, job, ver, event_at, arrived_at, taken });
        pause(wait).await;
        self.gate.pass().await;
        let answer = match status {
            Some(200) => Answer::Taken,
            Some(410) => Answer::Gone,
            _ => Answer::Failed { retry_after: None },
        };
        Some(Sent {
            answer,
            status,
            duration_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
            words: "".into(),
        })
    }
}

#[async_trait]
impl WebhookStore for StoreHandle {
    async fn create_endpoint(&self, endpoint: NewEndpoint) -> Result<Option<Endpoint>, StoreError> {
        self.run("create_endpoint", Kind::Write, self.rows().create_endpoint(endpoint)).await
    }

    async fn endpoints(&self, project: ProjectId) -> Result<Vec<Endpoint>, StoreError> {
        self.run("endpoints", Kind::Read, self.rows().endpoints(project)).await
    }

    async fn endpoint(&self, project: ProjectId, endpoint: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        self.run("endpoint", Kind::Read, self.rows().endpoint(project, endpoint)).await
    }

    async fn change_endpoint(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>, StoreError> {
        self.run("change_endpoint", Kind::Write, self.rows().change_endpoint(project, endpoint, change)).await
    }

    async fn origin_endpoint(&self, project: ProjectId, origin: &str) -> Result<EndpointId, StoreError> {
        self.run("origin_endpoint", Kind::Write, self.rows().origin_endpoint(project, origin)).await
    }

    async fn take_deliveries(&self, room: &Room) -> Result<Vec<Due>, StoreError> {
        self.run("take_deliveries", Kind::Write, self.rows().take_deliveries(room)).await
    }

    async fn finish_deliveries(&self, tried: Vec<Tried>) -> Result<(), StoreError> {
        self.run("finish_deliveries", Kind::Write, self.rows().finish_deliveries(tried)).await
    }

    async fn next_delivery_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.run("next_delivery_at", Kind::Read, self.rows().next_delivery_at()).await
    }

    async fn deliveries(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<DeliveryPage>, StoreError> {
        self.run("deliveries", Kind::Read, self.rows().deliveries(project, endpoint, after, limit)).await
    }

    async fn redeliver(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.run("redeliver", Kind::Write, self.rows().redeliver(project, endpoint, delivery)).await
    }

    async fn job_deliveries(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<JobDeliveries>, StoreError> {
        self.run("job_deliveries", Kind::Read, self.rows().job_deliveries(project, job, after, limit)).await
    }

    async fn redeliver_of_job(
        &self,
        project: ProjectId,
        job: JobId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.run("redeliver_of_job", Kind::Write, self.rows().redeliver_of_job(project, job, delivery)).await
    }

    async fn replay(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: (JobId, u32),
        limit: usize,
    ) -> Result<Option<Replayed>, StoreError> {
        self.run("replay", Kind::Write, self.rows().replay(project, endpoint, after, limit)).await
    }
}
