//! Rows of webhooks in SQLite, and the two JSON columns of theirs in either database: the secrets of an endpoint and, within
//! the request, a video's own webhook. Old rows must stay readable, so fields are only added, each with a default.

use std::collections::BTreeMap;

use longtake_core::event::EventKind;
use longtake_core::id::{DeliveryId, EndpointId, ProjectId};
use longtake_core::time::Timestamp;
use longtake_core::webhook::{
    Delivery, DeliveryState, Dialect, Endpoint, EndpointStatus, EventTypes, Salt, Try, VideoWebhook,
};
use rusqlite::{Error, Row};
use serde::{Deserialize, Serialize};

use super::{Result, corrupt, job_id, number, number_or_none, time, time_or_none, unreadable};

/// Columns of a delivery.
pub(crate) const DELIVERY: usize = 10;
/// Columns of an endpoint.
pub(crate) const ENDPOINT: usize = 11;

/// A video's own webhook within its request.
#[derive(Serialize, Deserialize)]
pub(super) struct WebhookRow {
    endpoint: i64,
    url: Box<str>,
    types: u32,
    dialect: Box<str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    headers: BTreeMap<String, String>,
}

impl WebhookRow {
    pub fn of(webhook: &VideoWebhook) -> Self {
        Self {
            endpoint: webhook.endpoint.0,
            url: webhook.url.clone(),
            types: webhook.types.bits(),
            dialect: word(webhook.dialect).into(),
            headers: webhook.headers.clone(),
        }
    }

    pub fn read(self) -> Result<VideoWebhook> {
        let dialects = [Dialect::Longtake, Dialect::ConduitA, Dialect::ConduitB];
        let dialect = dialects.into_iter().find(|dialect| word(*dialect) == &*self.dialect);
        Ok(VideoWebhook {
            endpoint: EndpointId(self.endpoint),
            url: self.url,
            types: EventTypes::from_bits(self.types),
            dialect: dialect.ok_or_else(|| unreadable("an unknown dialect of webhooks"))?,
            headers: self.headers,
        })
    }
}

/// The stored word of a dialect.
const fn word(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Longtake => "longtake",
        Dialect::ConduitA => "conduit_a",
        Dialect::ConduitB => "conduit_b",
    }
}

/// What secrets are made from: pairs of 32 hex digits and the time until which they sign.
pub(crate) fn salts_text(salts: &[Salt]) -> Result<String> {
    let pairs: Vec<(String, Option<i64>)> = salts
        .iter()
        .map(|salt| (format!("{:032x}", u128::from_be_bytes(salt.bytes)), salt.expires_at.map(Timestamp::as_micros)))
        .collect();
    serde_json::to_string(&pairs).map_err(unreadable)
}

/// What [`salts_text`] wrote.
pub(crate) fn salts_from(text: &str) -> Result<Vec<Salt>> {
    let pairs: Vec<(Box<str>, Option<i64>)> = serde_json::from_str(text).map_err(unreadable)?;
    let salt = |(hex, expires_at): (Box<str>, Option<i64>)| {
        let bytes = u128::from_str_radix(&hex, 16).map_err(unreadable)?.to_be_bytes();
        Ok(Salt { bytes, expires_at: expires_at.map(Timestamp::from_micros) })
    };
    pairs.into_iter().map(salt).collect()
}

/// The due time as it is stored: nothing unless the delivery is pending.
pub(crate) fn stored_due_at(delivery: &Delivery) -> Option<i64> {
    (delivery.state == DeliveryState::Pending).then(|| delivery.due_at.as_micros())
}

/// The columns of `endpoint_get.sql`, from `first` on.
pub(crate) fn endpoint_from(row: &Row<'_>, first: usize) -> Result<Endpoint, Error> {
    Ok(Endpoint {
        id: EndpointId(row.get(first)?),
        project: ProjectId(row.get(first + 1)?),
        url: row.get_ref(first + 2)?.as_str_or_null()?.map(Into::into),
        origin: row.get_ref(first + 3)?.as_str()?.into(),
        types: EventTypes::from_bits(number(row, first + 4)?),
        description: row.get_ref(first + 5)?.as_str()?.into(),
        status: EndpointStatus::from_number(row.get(first + 6)?)
            .ok_or_else(|| corrupt("an unknown status of an endpoint"))?,
        salts: salts_from(row.get_ref(first + 7)?.as_str()?)?,
        created_at: time(row, first + 8)?,
        failures: number(row, first + 9)?,
        open_until: time(row, first + 10)?,
    })
}

/// The columns of `delivery_get.sql`.
pub(crate) fn delivery_from(row: &Row<'_>) -> Result<Delivery, Error> {
    Ok(Delivery {
        id: DeliveryId(row.get(0)?),
        endpoint: EndpointId(row.get(1)?),
        job: job_id(row, 2)?,
        ver: number(row, 3)?,
        kind: EventKind::from_number(row.get(4)?).ok_or_else(|| corrupt("a delivery of an unknown event"))?,
        at: time(row, 5)?,
        state: DeliveryState::from_number(row.get(6)?).ok_or_else(|| corrupt("an unknown state of a delivery"))?,
        due_at: time_or_none(row, 7)?.unwrap_or(Timestamp::NEVER),
        tries: number(row, 8)?,
        begun_at: time(row, 9)?,
    })
}

/// The columns of `tries.sql`.
pub(crate) fn try_from(row: &Row<'_>) -> Result<Try, Error> {
    Ok(Try {
        at: time(row, 0)?,
        status: number_or_none(row, 1)?,
        duration_ms: number(row, 2)?,
        words: row.get_ref(3)?.as_str()?.into(),
    })
}
