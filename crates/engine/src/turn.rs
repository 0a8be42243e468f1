//! Which route the next attempt takes where the request itself rules some out: by the client's limit on cost, or by the
//! video it is made of, which only one account has.
//!
//! It is decided just before the intent, by the request and every earlier attempt as the store has them. Until then a job
//! waits where its plain turn would take it.

use longtake_core::attempt::Attempt;
use longtake_core::cost::{Made, first_within, spent};
use longtake_core::provider::{ChargedOn, Price};
use longtake_core::request::VideoRequest;
use longtake_core::route::turns_of;
use longtake_core::store::StoreError;

use crate::config::Parts;
use crate::context::Context;
use crate::task::Task;

/// Where the next attempt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// To the route that is so many turns after its plain one.
    Skip(usize),
    /// Nowhere: each route might break the client's limit (T23).
    OverLimit,
    /// No route that this process knows leads to the account that made its source.
    SourceElsewhere,
}

/// Decides where the next attempt of a job goes.
///
/// # Errors
/// As [`Store::timeline`](longtake_core::store::Store::timeline), asked only for what was attempted before.
pub(crate) async fn of(context: &Context, task: &Task, request: &VideoRequest) -> Result<Turn, StoreError> {
    if request.source.is_none() && request.max_cost_usd_micros.is_none() {
        return Ok(Turn::Skip(0));
    }
    let record = &task.record;
    let turns = turns_of(context.routes(&record.model), record.first_attempt, record.next_attempt());
    let possible: Vec<_> = turns.enumerate().filter(|(_, route)| request.may_go_to(route.account)).collect();
    let Some((first, _)) = possible.first() else { return Ok(Turn::SourceElsewhere) };
    let Some(limit) = request.max_cost_usd_micros else { return Ok(Turn::Skip(*first)) };
    let made = match &record.attempt {
        None => Some(0),
        Some(_) => {
            let timeline = context.parts.store.timeline(record.project, record.job).await?;
            timeline.and_then(|timeline| spent_of(&context.parts, request, &timeline.attempts))
        }
    };
    let prices = possible.iter().map(|(_, route)| {
        let price = context.parts.price(route.account, &route.model, request);
        price.map(|price| price.usd_micros)
    });
    let fits = first_within(limit, made, prices).ok().and_then(|place| possible.get(place));
    Ok(fits.map_or(Turn::OverLimit, |(turn, _)| Turn::Skip(*turn)))
}

/// What the attempts of a job may have cost together, in millionths of a dollar; `None` where that cannot be said.
pub fn spent_of(parts: &Parts, request: &VideoRequest, attempts: &[Attempt]) -> Option<u64> {
    spent(attempts.iter().map(|attempt| {
        let entry = parts.accounts.get(&attempt.account);
        // Of an account that is gone the worst is assumed.
        let charged_on = entry.map_or(ChargedOn::Submit, |entry| entry.provider.profile(attempt.account).charged_on);
        let price = parts.price(attempt.account, &attempt.model, request).map(|price| price.usd_micros);
        Made::of(attempt, charged_on, price)
    }))
}

impl Parts {
    /// What a request costs with a model of an account; `None` where nobody knows.
    pub fn price(&self, account: longtake_core::id::AccountId, model: &str, request: &VideoRequest) -> Option<Price> {
        self.accounts.get(&account)?.provider.price(account, model, request)
    }
}
