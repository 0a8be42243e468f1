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
    turns_of(routes, first, attempt).next()
}

/// All routes, each once, in the order in which an attempt may take them: the first is [`route_of`], the others are those
/// it falls back on where the request itself rules routes out.
pub fn turns_of(routes: &[Route], first: AttemptNo, attempt: AttemptNo) -> impl Iterator<Item = &Route> {
    let made = usize::from(attempt.0.saturating_sub(first.0)) % routes.len().max(1);
    let (before, from) = routes.split_at(made);
    from.iter().chain(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(number: i32) -> Route {
        let (account, pool) = (AccountId(number), PoolId(number));
        Route { account, model: "m".into(), pool, limits: Limits::NONE }
    }

    #[test]
    fn turns_begin_with_the_route_of_the_attempt_and_go_once_around() {
        let routes = [route(1), route(2), route(3)];
        let turns = |attempt| -> Vec<i32> {
            turns_of(&routes, AttemptNo(4), AttemptNo(attempt)).map(|route| route.account.0).collect()
        };
        assert_eq!(turns(4), [1, 2, 3]);
        assert_eq!(turns(5), [2, 3, 1]);
        assert_eq!(turns(7), [1, 2, 3]);
        assert_eq!(turns_of(&[], AttemptNo(1), AttemptNo(9)).count(), 0);
        assert_eq!(route_of(&routes, AttemptNo(1), AttemptNo(2)), Some(&routes[1]));
        assert_eq!(route_of(&[], AttemptNo(1), AttemptNo(1)), None);
    }
}
