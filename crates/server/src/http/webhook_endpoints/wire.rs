//! Endpoints and deliveries as clients see them.
//!
//! An endpoint says some things twice: as the contract calls them, and as the official SDKs read them.

use longtake_core::event::EventKind;
use longtake_core::id::EndpointId;
use longtake_core::time::Timestamp;
use longtake_core::webhook::{Delivery, DeliveryPage, DeliveryState, Endpoint, EndpointStatus, EventTypes, Try};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::webhooks::signature;

/// One webhook endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookEndpoint)]
pub struct EndpointBody {
    /// `we_` and a number.
    #[schema(example = "we_1")]
    pub id: String,
    /// Always `webhook_endpoint`.
    #[schema(value_type = String, example = "webhook_endpoint")]
    pub object: &'static str,
    /// Where events are sent.
    pub url: String,
    /// The types that are sent.
    #[schema(value_type = Vec<String>)]
    pub events: Vec<&'static str>,
    /// The same, as the official SDKs call it.
    #[schema(value_type = Vec<String>)]
    pub event_types: Vec<&'static str>,
    /// `enabled`, `disabled` (by you) or `gone` (it answered 410).
    #[schema(value_type = String, example = "enabled")]
    pub status: &'static str,
    /// Your words; empty where there are none.
    pub description: String,
    /// The same, as the official SDKs call it.
    pub name: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Tries that failed since the last that did not.
    pub consecutive_failures: u32,
    /// It failed so often that nothing is tried before then, in Unix seconds; null where it is not left alone.
    pub paused_until: Option<i64>,
    /// Secrets from before a rotation sign until then, in Unix seconds; null where only the newest does.
    pub old_secrets_expire_at: Option<i64>,
    /// What its deliveries are signed with: only in the answers that make it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The same, as the official SDKs call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<String>,
}

/// Your webhook endpoints.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookEndpointList)]
pub struct EndpointList {
    /// Always `list`.
    #[schema(value_type = String, example = "list")]
    pub object: &'static str,
    /// The endpoints, newest first.
    pub data: Vec<EndpointBody>,
    /// The first of them.
    pub first_id: Option<String>,
    /// The last of them: `after` of the next page.
    pub last_id: Option<String>,
    /// There is another page.
    pub has_more: bool,
}

/// The receipt of a removal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeletedWebhookEndpoint)]
pub struct DeletedEndpoint {
    /// Which.
    pub id: String,
    /// Always `webhook_endpoint.deleted`.
    #[schema(value_type = String, example = "webhook_endpoint.deleted")]
    pub object: &'static str,
    /// Always true.
    pub deleted: bool,
}

/// What the deliveries to `webhook_url`s are signed with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VideoWebhookSecret)]
pub struct VideosSecret {
    /// Always `videos`.
    #[schema(value_type = String, example = "videos")]
    pub id: &'static str,
    /// Always `webhook_endpoint`.
    #[schema(value_type = String, example = "webhook_endpoint")]
    pub object: &'static str,
    /// `whsec_` and base64; the same for the project's lifetime.
    pub secret: String,
}

/// One event for one endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookDelivery)]
pub struct DeliveryBody {
    /// `whd_` and a number.
    #[schema(example = "whd_1")]
    pub id: String,
    /// Always `webhook_delivery`.
    #[schema(value_type = String, example = "webhook_delivery")]
    pub object: &'static str,
    /// The event: `webhook-id` of every try.
    pub event: String,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "video.completed")]
    pub kind: &'static str,
    /// The video.
    pub video: String,
    /// The webhook endpoint that it is for; null for the `webhook_url` of the video.
    #[schema(example = "we_1")]
    pub endpoint: Option<String>,
    /// `pending`, `delivered`, `exhausted` (tried for as long as it should be) or `disabled` (its endpoint is told nothing).
    #[schema(value_type = String, example = "delivered")]
    pub state: &'static str,
    /// Tries so far.
    pub tries: u32,
    /// When it is tried next, in Unix seconds; null unless it is pending.
    pub next_try_at: Option<i64>,
    /// When the event happened, in Unix seconds.
    pub created_at: i64,
    /// The newest tries, oldest first.
    pub log: Vec<TryBody>,
}

/// One try.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookTry)]
pub struct TryBody {
    /// Unix seconds.
    pub at: i64,
    /// HTTP status; null where there was no answer.
    pub status: Option<u16>,
    /// How long it took.
    pub duration_ms: u32,
    /// The first bytes of the answer, or what went wrong.
    pub answer: String,
}

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookDeliveryList)]
pub struct DeliveryList {
    /// Always `list`.
    #[schema(value_type = String, example = "list")]
    pub object: &'static str,
    /// The deliveries, newest first.
    pub data: Vec<DeliveryBody>,
    /// The first of them.
    pub first_id: Option<String>,
    /// The last of them: `after` of the next page.
    pub last_id: Option<String>,
    /// There is another page.
    pub has_more: bool,
}

/// An endpoint without its secret.
pub fn endpoint(app: &App, endpoint: &Endpoint) -> EndpointBody {
    let now = app.clock.now();
    EndpointBody {
        id: format!("we_{}", endpoint.id),
        object: "webhook_endpoint",
        url: endpoint.url.as_deref().unwrap_or_default().to_owned(),
        events: types(endpoint.types),
        event_types: types(endpoint.types),
        status: match endpoint.status {
            EndpointStatus::Enabled => "enabled",
            EndpointStatus::Disabled => "disabled",
            EndpointStatus::Gone => "gone",
            EndpointStatus::Deleted => "deleted",
        },
        description: endpoint.description.to_string(),
        name: endpoint.description.to_string(),
        created_at: endpoint.created_at.as_secs(),
        consecutive_failures: endpoint.failures,
        paused_until: (endpoint.open_until > now).then(|| endpoint.open_until.as_secs()),
        old_secrets_expire_at: endpoint
            .active_salts(now)
            .filter_map(|salt| salt.expires_at)
            .max()
            .map(Timestamp::as_secs),
        secret: None,
        signing_secret: None,
    }
}

/// An endpoint with its newest secret, for the answers that make one.
pub fn endpoint_with_secret(app: &App, shown: &Endpoint) -> EndpointBody {
    let newest = shown.salts.first();
    let secret = newest.map(|salt| signature::secret(&app.engine.parts().secret_key, &salt.bytes));
    EndpointBody { secret: secret.clone(), signing_secret: secret, ..endpoint(app, shown) }
}

/// A page of deliveries; `own` stands for the `webhook_url` of their video.
pub fn delivery_list(page: &DeliveryPage, own: Option<EndpointId>) -> DeliveryList {
    let data: Vec<DeliveryBody> = page.deliveries.iter().map(|(row, tries)| delivery(row, tries, own)).collect();
    DeliveryList {
        object: "list",
        first_id: data.first().map(|row| row.id.clone()),
        last_id: data.last().map(|row| row.id.clone()),
        has_more: page.has_more,
        data,
    }
}

/// A delivery with its newest tries; `own` stands for the `webhook_url` of its video.
pub fn delivery(delivery: &Delivery, tries: &[Try], own: Option<EndpointId>) -> DeliveryBody {
    DeliveryBody {
        id: format!("whd_{}", delivery.id),
        object: "webhook_delivery",
        event: format!("evt_{}_{}", delivery.job, delivery.ver),
        kind: delivery.kind.word(),
        video: delivery.job.to_string(),
        endpoint: (own != Some(delivery.endpoint)).then(|| format!("we_{}", delivery.endpoint)),
        state: match delivery.state {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Exhausted => "exhausted",
            DeliveryState::Disabled => "disabled",
        },
        tries: delivery.tries,
        next_try_at: (delivery.state == DeliveryState::Pending).then(|| delivery.due_at.as_secs()),
        created_at: delivery.at.as_secs(),
        log: tries.iter().map(one_try).collect(),
    }
}

fn one_try(one: &Try) -> TryBody {
    TryBody { at: one.at.as_secs(), status: one.status, duration_ms: one.duration_ms, answer: one.words.to_string() }
}

fn types(types: EventTypes) -> Vec<&'static str> {
    EventKind::ALL.into_iter().filter(|kind| types.has(*kind)).map(EventKind::word).collect()
}
