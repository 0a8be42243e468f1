//! Which account and which provider's model serve a public model, in order of fallback.

use std::sync::Arc;

use crate::id::{AccountId, AttemptNo, PoolId};
use crate::limits::Limits;

/// One choice for a public model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Whose credential.
    pub account: AccountId,
    /// The provider's name for the model.
    pub model: Arc<str>,
    /// The two together, as the store numbers them: what a queued job waits for.
    pub pool: PoolId,
    /// Of this model at this account, over all machines.
    pub limits: Limits,
}

/// Picks the route of an attempt: each new attempt since create or retry takes the next one, round and round.
///
/// `first` is the number of the budget's first attempt. `None` if there are no routes.
pub fn route_of(routes: &[Route], first: AttemptNo, attempt: AttemptNo) -> Option<&Route> {
    let made = usize::from(attempt.0.saturating_sub(first.0));
    routes.get(made % routes.len().max(1))
}
