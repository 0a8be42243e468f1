//! The seam to rows of outgoing webhooks: the part of the store contract that is about endpoints and deliveries.
//!
//! Deliveries are made with the event they tell of, in its transaction: by [`Store::create`](crate::store::Store::create),
//! `step` and `retry`, one for each enabled endpoint of the project that wants the type, and one for the job's own
//! [`VideoWebhook`](crate::webhook::VideoWebhook). Everything here may be repeated where a commit is unknown.

use async_trait::async_trait;

use crate::id::{DeliveryId, EndpointId, JobId, ProjectId};
use crate::store::StoreError;
use crate::time::Timestamp;
use crate::webhook::{
    Delivery, DeliveryPage, Due, Endpoint, EndpointChange, JobDeliveries, NewEndpoint, Replayed, Room, Tried,
};

/// Rows of webhooks.
#[async_trait]
pub trait WebhookStore: Send + Sync {
    /// Makes an endpoint. `None` where the project has [`Endpoint::MAX_PER_PROJECT`] already.
    async fn create_endpoint(&self, endpoint: NewEndpoint) -> Result<Option<Endpoint>, StoreError>;

    /// The endpoints of a project that clients made, oldest first, without deleted ones.
    async fn endpoints(&self, project: ProjectId) -> Result<Vec<Endpoint>, StoreError>;

    /// One of them.
    async fn endpoint(&self, project: ProjectId, endpoint: EndpointId) -> Result<Option<Endpoint>, StoreError>;

    /// Changes one of them; as it now is. Deliveries of one that is no longer enabled end as `Disabled` when they are due.
    async fn change_endpoint(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>, StoreError>;

    /// The endpoint that stands for all `webhook_url`s of a project with this origin, made where it is new; the one with
    /// an empty origin where there are [`Endpoint::MAX_ORIGINS`] others.
    async fn origin_endpoint(&self, project: ProjectId, origin: &str) -> Result<EndpointId, StoreError>;

    /// Takes deliveries that are due, each for the lease: of every endpoint the oldest due ones, as far as there is room;
    /// where there is not room for all, first those of endpoints that have the fewest under way, so that one with a long
    /// queue delays no other. Left alone: endpoints that are open (`open_until`), and a delivery while an earlier one of
    /// the same job and endpoint is pending and was never tried. Of endpoints that are not enabled, up to `limit` due ones
    /// in all end as `Disabled` and are not given. Of a suspect endpoint at most one is taken, and none while it is busy;
    /// where the time of its oldest due one is over ([`Delivery::is_over`]), which its circuit may have left no try, none is
    /// taken: those among its `limit` oldest due ones whose time is over end as `Exhausted`, within the same number in all.
    async fn take_deliveries(&self, room: &Room) -> Result<Vec<Due>, StoreError>;

    /// Records tries ([`Delivery::note`], [`Endpoint::note`]); deliveries that are there no more are passed over. 410 ends
    /// what a client's endpoint is told; where it came from a video's own URL, just this delivery.
    async fn finish_deliveries(&self, tried: Vec<Tried>) -> Result<(), StoreError>;

    /// When the next delivery can be taken, at the earliest; `None` where none waits. One whose endpoint is open counts from
    /// the end of that on; a blocked one counts as it is.
    async fn next_delivery_at(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Deliveries of an endpoint, newest first, behind one of them. `None` where the project has no such endpoint.
    async fn deliveries(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<DeliveryPage>, StoreError>;

    /// Makes a delivery due again ([`Delivery::again`]), whatever became of it.
    async fn redeliver(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError>;

    /// Deliveries of a job's events, newest first, behind one of them: to whatever endpoint, removed ones and the job's own
    /// among them. `None` where the project has no such job that is visible.
    async fn job_deliveries(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<JobDeliveries>, StoreError>;

    /// Makes one of them due again ([`Delivery::again`]), whatever became of it. `None` where the project has no such job
    /// that is visible, or the job no such delivery. What is for an endpoint that is not enabled ends once more.
    async fn redeliver_of_job(
        &self,
        project: ProjectId,
        job: JobId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, StoreError>;

    /// Makes deliveries of the project's events behind this one, in the order of the feed, as far as the endpoint wants
    /// their types; those that exist are due again. Looks at `limit` events at most. `None` where there is no such
    /// endpoint, or no such event of the project.
    async fn replay(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        after: (JobId, u32),
        limit: usize,
    ) -> Result<Option<Replayed>, StoreError>;
}
