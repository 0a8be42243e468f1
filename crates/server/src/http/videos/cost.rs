//! Dollars: what a client may say of them, and which routes fit below its limit.
//!
//! Amounts are whole millionths of a dollar from the first digit read to the comparison: no sum is ever rounded up to a
//! client's cost. The rule itself is `longtake_core::cost`; here it is asked before anything is accepted.

use longtake_core::cost::{OverLimit, first_within};
use longtake_core::id::PoolId;
use longtake_core::request::VideoRequest;
use longtake_core::route::Route;
use longtake_core::state::StateName;
use longtake_core::store::Job;
use longtake_engine::turn::spent_of;

use super::wire::dollars;
use crate::app::App;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::node::{Node, wrong_type};

/// The member.
const PARAM: &str = "max_cost_usd";
/// Highest limit, in dollars.
const MAX_USD: u64 = 1_000_000;
/// Longest amount that is read, in characters.
const MAX_CHARS: usize = 32;

/// Reads `max_cost_usd`: a number, or a decimal as a string. What is finer than a millionth is cut off, never added.
///
/// # Errors
/// `invalid_type`, or `invalid_value` where it is no amount above 0.
pub fn limit(node: Node) -> Result<u64, ApiError> {
    let text = match node {
        // Shortest digits that mean the same number, without an exponent.
        Node::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => float.to_string(),
            _ => number.to_string(),
        },
        Node::Text(text) | Node::Form(text) => text,
        _ => return Err(wrong_type(PARAM, "a number of dollars, or the same as a string")),
    };
    micros(&text).filter(|micros| (1..=MAX_USD * 1_000_000).contains(micros)).ok_or_else(|| {
        let message = format!("must be a decimal number of dollars from 0.000001 to {MAX_USD}, such as 0.50");
        ApiError::about(PARAM, ErrorCode::InvalidValue, message)
    })
}

/// Plain decimal digits with at most one point among them, as millionths, cut off below.
fn micros(text: &str) -> Option<u64> {
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if whole.is_empty() || part.is_empty() || text.len() > MAX_CHARS || !digits(whole) || !digits(part) {
        return None;
    }
    let part: String = part.chars().chain("000000".chars()).take(6).collect();
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part.parse().ok()?)
}

/// The route that the first attempt of a request takes.
///
/// # Errors
/// Why none may be taken.
pub fn first_route<'a>(app: &'a App, request: &VideoRequest) -> Result<&'a Route, OverLimit> {
    next_route(app, request, Some(0))
}

fn next_route<'a>(app: &'a App, request: &VideoRequest, spent: Option<u64>) -> Result<&'a Route, OverLimit> {
    let routes = app.models.get(&request.model).map_or(&[][..], |model| &model.routes);
    let possible: Vec<&Route> = routes.iter().filter(|route| request.may_go_to(route.account)).collect();
    let place = match request.max_cost_usd_micros {
        None => 0,
        Some(limit) => {
            let price = |route: &&Route| Some(app.price(route.account, &route.model, request)?.usd_micros);
            first_within(limit, spent, possible.iter().map(price))?
        }
    };
    possible.get(place).copied().ok_or(OverLimit::Unknown)
}

/// Where a job waits first; any executor sorts it out where there is no such route.
pub fn pool(app: &App, request: &VideoRequest) -> PoolId {
    first_route(app, request).map_or(PoolId::NONE, |route| route.pool)
}

/// Refuses a request that no route can serve within its limit.
///
/// # Errors
/// `max_cost_exceeded`.
pub fn within_limit(app: &App, request: &VideoRequest) -> Result<(), ApiError> {
    match (request.max_cost_usd_micros, first_route(app, request)) {
        (Some(_), Err(why)) => Err(exceeded(why)),
        _ => Ok(()),
    }
}

/// Refuses another attempt that a client's word would bring about (retry, or resubmit where it is held) and that could
/// break the limit: everything that was attempted counts. Of a job in another state the store says why not.
///
/// # Errors
/// `max_cost_exceeded`; as the store.
pub async fn allows_another(app: &App, job: &Job) -> Result<(), ApiError> {
    let state = job.record.state.name();
    let waits_for_word = matches!(state, StateName::Failed | StateName::Canceled | StateName::Held);
    if job.request.max_cost_usd_micros.is_none() || !waits_for_word {
        return Ok(());
    }
    let timeline = app.store.timeline(job.record.project, job.record.job).await?;
    let attempts = timeline.ok_or_else(ApiError::video_not_found)?.attempts;
    let spent = spent_of(app.engine.parts(), &job.request, &attempts);
    next_route(app, &job.request, spent).map(drop).map_err(exceeded)
}

fn exceeded(why: OverLimit) -> ApiError {
    let message = match why {
        OverLimit::Costs(micros) => format!(
            "it would cost {} dollars, with what earlier attempts may have cost; raise the limit, or ask for less (POST /v1/videos/quote tells prices)",
            dollars(micros)
        ),
        OverLimit::Unknown => {
            "no price is known that could be held to a limit; leave max_cost_usd out, or ask the operator to set price_usd_per_second".to_owned()
        }
    };
    ApiError::about(PARAM, ErrorCode::MaxCostExceeded, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<u64, ErrorCode> {
        limit(Node::from_json(json.as_bytes()).unwrap()).map_err(|error| error.code())
    }

    #[test]
    fn amounts_are_exact() {
        for (json, micros) in [
            ("0.28", 280_000),
            ("\"0.28\"", 280_000),
            ("1", 1_000_000),
            ("\"0000001.5\"", 1_500_000),
            ("0.000001", 1),
            ("1e-6", 1),
            ("0.1", 100_000),
            ("0.30000000000000004", 300_000),
            ("\"0.9999999\"", 999_999),
            ("1000000", 1_000_000_000_000),
            ("8.05", 8_050_000),
        ] {
            assert_eq!(read(json), Ok(micros), "{json}");
        }
        assert_eq!(limit(Node::Form("0.5".to_owned())), Ok(500_000));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for json in [
            "0",
            "-1",
            "0.0000001",
            "1000000.1",
            "1e300",
            "\"\"",
            "\".5\"",
            "\"1.\"",
            "\"1e3\"",
            "\"+1\"",
            "\" 1\"",
            "\"1,5\"",
            "\"NaN\"",
            "\"18446744073709551616\"",
            "99999999999999999999",
        ] {
            assert_eq!(read(json), Err(ErrorCode::InvalidValue), "{json}");
        }
        for json in ["true", "[1]", "{}"] {
            assert_eq!(read(json), Err(ErrorCode::InvalidType), "{json}");
        }
    }
}
