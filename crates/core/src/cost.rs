//! What a job may cost its client: which attempts count against the limit, and which route still fits below it.
//!
//! Prices are those of the catalogue, in millionths of a dollar, and compared exactly. What cannot be bounded, because a
//! price is unknown, does not fit. Absent: budgets over several jobs, and what a provider really billed.

use crate::attempt::{Attempt, AttemptState};
use crate::failure::{Failure, FailureCode};
use crate::provider::ChargedOn;
use crate::record::Record;

/// One attempt as the limit sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// What is known of it.
    pub state: AttemptState,
    /// It ended without bytes, but the provider had been done with it.
    pub lost_result: bool,
    /// When its provider charges.
    pub charged_on: ChargedOn,
    /// Its price, in millionths of a dollar; `None` where unknown.
    pub price: Option<u64>,
}

impl Made {
    /// An attempt of a provider that charges then, at this price.
    pub fn of(attempt: &Attempt, charged_on: ChargedOn, price: Option<u64>) -> Self {
        Self { state: attempt.state, lost_result: attempt.is_lost_result(), charged_on, price }
    }

    /// Whether it has cost its price, or may yet: everything but what provably costs nothing.
    pub const fn may_cost(&self) -> bool {
        match self.state {
            AttemptState::NotAccepted => false,
            AttemptState::FailedAtProvider => self.lost_result || matches!(self.charged_on, ChargedOn::Submit),
            AttemptState::Intent
            | AttemptState::Accepted
            | AttemptState::Unknown
            | AttemptState::Waived
            | AttemptState::LateAccepted
            | AttemptState::Done => true,
        }
    }
}

/// Why no route fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverLimit {
    /// The cheapest next attempt, together with what was spent, would cost this much.
    Costs(u64),
    /// A price is unknown, so the sum cannot be bounded.
    Unknown,
}

/// What these attempts may have cost together; `None` where that cannot be said.
pub fn spent(made: impl IntoIterator<Item = Made>) -> Option<u64> {
    made.into_iter().filter(Made::may_cost).try_fold(0, |sum: u64, made| Some(sum.saturating_add(made.price?)))
}

/// Picks the first of `prices`, given in the order of their turns, that fits below the limit with what was spent.
///
/// # Errors
/// [`OverLimit`] where none does.
pub fn first_within(
    limit: u64,
    spent: Option<u64>,
    prices: impl IntoIterator<Item = Option<u64>>,
) -> Result<usize, OverLimit> {
    let mut cheapest: Option<u64> = None;
    for (turn, price) in prices.into_iter().enumerate() {
        let Some(sum) = price.and_then(|price| spent?.checked_add(price)) else { continue };
        if sum <= limit {
            return Ok(turn);
        }
        cheapest = Some(cheapest.map_or(sum, |known| known.min(sum)));
    }
    Err(cheapest.map_or(OverLimit::Unknown, OverLimit::Costs))
}

/// What a queued job fails with for which no route fits (T23): why it is not at a provider, and why it stays so.
pub fn over_limit(record: &Record) -> Failure {
    const REMEDY: &str =
        "another attempt could cost more than max_cost_usd allows; create the video anew with a higher limit";
    let (code, before) = why_queued(record);
    // The remedy counts more than a provider's words, which may be long.
    let mut end = before.len().min(Failure::MAX_MESSAGE_BYTES - REMEDY.len() - 2);
    while !before.is_char_boundary(end) {
        end -= 1;
    }
    Failure::new(code, &format!("{}; {REMEDY}", &before[..end]))
}

fn why_queued(record: &Record) -> (FailureCode, &str) {
    let Some(last) = &record.attempt else {
        return (FailureCode::ProviderUnavailable, "no provider of the model has a known price within the limit now");
    };
    match (last.state, last.rejection.as_deref()) {
        (AttemptState::NotAccepted, Some(rejection)) => (rejection.failure.code, &rejection.failure.message),
        (AttemptState::FailedAtProvider, Some(lost)) => (lost.failure.code, &lost.failure.message),
        (AttemptState::FailedAtProvider, None) => {
            (FailureCode::ProviderError, "the last attempt failed at the provider")
        }
        _ => (FailureCode::SubmissionInDoubt, "an earlier attempt may still be paid"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(state: AttemptState, charged_on: ChargedOn, price: Option<u64>) -> Made {
        Made { state, lost_result: false, charged_on, price }
    }

    #[test]
    fn only_what_is_provably_free_does_not_count() {
        for state in AttemptState::ALL {
            let on_submit = made(state, ChargedOn::Submit, Some(1)).may_cost();
            let on_success = made(state, ChargedOn::Success, Some(1)).may_cost();
            assert_eq!(on_submit, state != AttemptState::NotAccepted, "{state:?}");
            assert_eq!(on_success, on_submit && state != AttemptState::FailedAtProvider, "{state:?}");
        }
        let gone = made(AttemptState::FailedAtProvider, ChargedOn::Success, None);
        assert!(Made { lost_result: true, ..gone }.may_cost(), "the provider had succeeded");
    }

    #[test]
    fn a_sum_with_an_unknown_part_is_unknown_but_for_free_attempts() {
        let (refused, failed) = (AttemptState::NotAccepted, AttemptState::FailedAtProvider);
        let known = made(failed, ChargedOn::Submit, Some(70));
        assert_eq!(spent([]), Some(0));
        assert_eq!(spent([known, known, made(refused, ChargedOn::Submit, None)]), Some(140));
        assert_eq!(spent([known, made(failed, ChargedOn::Success, None)]), Some(70));
        assert_eq!(spent([known, made(failed, ChargedOn::Submit, None)]), None);
        assert_eq!(spent([made(failed, ChargedOn::Submit, Some(u64::MAX)), known]), Some(u64::MAX));
    }

    #[test]
    fn the_first_that_fits_is_taken_and_exactly_the_limit_fits() {
        assert_eq!(first_within(100, Some(0), [Some(101), None, Some(100), Some(1)]), Ok(2));
        assert_eq!(first_within(100, Some(40), [Some(61), Some(60)]), Ok(1));
        assert_eq!(first_within(100, Some(100), [Some(0)]), Ok(0), "what is free costs nothing more");
    }

    #[test]
    fn what_does_not_fit_says_how_much_it_would_be() {
        assert_eq!(first_within(100, Some(0), [Some(300), None, Some(200)]), Err(OverLimit::Costs(200)));
        assert_eq!(first_within(100, Some(50), [Some(51)]), Err(OverLimit::Costs(101)));
        assert_eq!(first_within(100, Some(0), [None, None]), Err(OverLimit::Unknown));
        assert_eq!(first_within(100, None, [Some(1)]), Err(OverLimit::Unknown));
        assert_eq!(first_within(100, Some(0), []), Err(OverLimit::Unknown));
        assert_eq!(first_within(u64::MAX, Some(u64::MAX), [Some(1)]), Err(OverLimit::Unknown));
    }
}
