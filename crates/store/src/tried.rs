//! Deliveries that were tried, loaded together with their endpoints, and what their tries make of them: the same in either
//! database. Absent: loading and saving.

use std::collections::BTreeMap;

use longtake_core::id::{DeliveryId, EndpointId};
use longtake_core::time::Timestamp;
use longtake_core::webhook::{Delivery, Endpoint, Tried};

/// What was tried, at one time.
pub(crate) struct Loaded {
    now: Timestamp,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
}

impl Loaded {
    pub fn new(now: Timestamp, rows: impl IntoIterator<Item = (Delivery, Endpoint)>) -> Self {
        let mut loaded = Self { now, deliveries: BTreeMap::new(), endpoints: BTreeMap::new() };
        for (delivery, endpoint) in rows {
            loaded.deliveries.insert(delivery.id, delivery);
            loaded.endpoints.insert(endpoint.id, endpoint);
        }
        loaded
    }

    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Endpoints that some try changes, each once, in order. Ask before the tries are noted.
    pub fn changed(&self, tried: &[Tried]) -> Vec<EndpointId> {
        let changes = |item: &Tried| {
            let endpoint = self.deliveries.get(&item.delivery).and_then(|row| self.endpoints.get(&row.endpoint))?;
            (endpoint.clone().after(item, self.now) != *endpoint).then_some(endpoint.id)
        };
        let mut changed: Vec<EndpointId> = tried.iter().filter_map(changes).collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// An endpoint was read again.
    pub fn put(&mut self, endpoint: Endpoint) {
        self.endpoints.insert(endpoint.id, endpoint);
    }

    /// Records the tries. Each with its number.
    pub fn note<'a>(&mut self, tried: &'a [Tried]) -> Vec<(u32, &'a Tried)> {
        let mut noted = Vec::with_capacity(tried.len());
        for item in tried {
            let Some(delivery) = self.deliveries.get_mut(&item.delivery) else { continue };
            delivery.note(item.answer, item.log.at, self.now, item.jitter);
            if let Some(endpoint) = self.endpoints.get_mut(&delivery.endpoint) {
                *endpoint = endpoint.clone().after(item, self.now);
            }
            noted.push((delivery.tries, item));
        }
        noted
    }

    /// The deliveries, in order.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.values()
    }

    /// These endpoints, as far as they are known.
    pub fn endpoints(&self, wanted: &[EndpointId]) -> Vec<&Endpoint> {
        wanted.iter().filter_map(|endpoint| self.endpoints.get(endpoint)).collect()
    }
}
