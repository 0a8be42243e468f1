//! The prompt's orders: `[sandbox duration=10s fail=content_policy]`. They let clients test everything without paying.

use std::time::Duration;

use longtake_core::failure::FailureCode;
use longtake_core::provider::Unsupported;

use crate::nearest::nearest;

/// The orders there are.
const ORDERS: [&str; 6] = ["duration", "fail", "fail_times", "hang", "slow_submit", "progress"];
/// Longest `duration`.
const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Longest `slow_submit`.
const MAX_SLOW_SUBMIT: Duration = Duration::from_secs(600);
/// Most attempts that `fail_times` lets fail.
const MAX_FAIL_TIMES: u16 = 1_000;

/// How a job behaves, as its prompt orders it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The prompt without its orders: what the title card shows.
    pub title: String,
    /// From acceptance to the end; without it about 2 s beyond the rendering.
    pub duration: Option<Duration>,
    /// Ends with this failure.
    pub fail: Option<FailureCode>,
    /// Only the first so many attempts fail; with no `fail` they fail with `provider_error`.
    pub fail_times: Option<u16>,
    /// Never ends until it is canceled.
    pub hang: bool,
    /// Wait between acceptance and its answer.
    pub slow_submit: Duration,
    /// Whether progress is told.
    pub progress: bool,
}

impl Script {
    /// Reads the orders of a prompt.
    ///
    /// # Errors
    /// `Unsupported` on `prompt`, naming the order that is unknown, given twice or has a value it cannot have.
    pub fn parse(prompt: &str) -> Result<Self, Unsupported> {
        let mut script = Self {
            title: String::new(),
            duration: None,
            fail: None,
            fail_times: None,
            hang: false,
            slow_submit: Duration::ZERO,
            progress: true,
        };
        let mut given: Vec<&str> = Vec::new();
        let mut rest = prompt;
        while let Some((before, orders, after)) = next_bracket(rest)? {
            script.title.push_str(before);
            for order in orders.split_whitespace() {
                let (name, value) = match order.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (order, None),
                };
                if given.contains(&name) {
                    return Err(wrong(format!("the sandbox's order {name:?} is given twice")));
                }
                script.order(name, value)?;
                given.push(name);
            }
            rest = after;
        }
        script.title.push_str(rest);
        script.title = script.title.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(script)
    }

    fn order(&mut self, name: &str, value: Option<&str>) -> Result<(), Unsupported> {
        match (name, value) {
            ("duration", Some(value)) => self.duration = Some(duration(name, value, MAX_DURATION)?),
            ("slow_submit", Some(value)) => self.slow_submit = duration(name, value, MAX_SLOW_SUBMIT)?,
            ("fail", Some(value)) => self.fail = Some(failure_code(value)?),
            ("fail_times", Some(value)) => {
                let times = value.parse().ok().filter(|times| (1..=MAX_FAIL_TIMES).contains(times));
                let range =
                    || wrong(format!("the sandbox's order fail_times takes 1 to {MAX_FAIL_TIMES}, not {value:?}"));
                self.fail_times = Some(times.ok_or_else(range)?);
            }
            ("hang", None) => self.hang = true,
            ("progress", Some("none")) => self.progress = false,
            ("progress", _) => return Err(wrong("the sandbox's order progress takes only progress=none".to_owned())),
            ("hang", Some(_)) => return Err(wrong("the sandbox's order hang takes no value".to_owned())),
            (name, None) if ORDERS.contains(&name) => {
                return Err(wrong(format!("the sandbox's order {name} needs a value, as in [sandbox {name}=…]")));
            }
            (name, _) => {
                let name: String = name.chars().take(64).collect();
                let hint = nearest(&name, ORDERS).map_or(String::new(), |near| format!(", perhaps {near}"));
                let known = ORDERS.join(", ");
                return Err(wrong(format!("the sandbox has no order {name:?}{hint}; it has: {known}")));
            }
        }
        Ok(())
    }

    /// The failure that attempt `n` ends with, if any.
    pub fn failure_of(&self, attempt: u16) -> Option<FailureCode> {
        match (self.fail_times, self.fail) {
            (None, fail) => fail,
            (Some(times), fail) => (attempt <= times).then_some(fail.unwrap_or(FailureCode::ProviderError)),
        }
    }
}

/// The text before the next bracket with orders, the orders, and the rest; `None` if there is no further one.
fn next_bracket(text: &str) -> Result<Option<(&str, &str, &str)>, Unsupported> {
    const OPEN: &str = "[sandbox";
    let mut from = 0;
    while let Some(found) = text[from..].find(OPEN) {
        let start = from + found;
        let inside = &text[start + OPEN.len()..];
        // `[sandboxes …]` is prose.
        if inside.starts_with(|c: char| c.is_whitespace() || c == ']') {
            let end =
                inside.find(']').ok_or_else(|| wrong("an order to the sandbox lacks its closing ]".to_owned()))?;
            return Ok(Some((&text[..start], &inside[..end], &inside[end + 1..])));
        }
        from = start + OPEN.len();
    }
    Ok(None)
}

fn failure_code(value: &str) -> Result<FailureCode, Unsupported> {
    FailureCode::from_code(value).ok_or_else(|| {
        let known = FailureCode::ALL.map(FailureCode::code);
        let shown: String = value.chars().take(64).collect();
        let hint = nearest(&shown, known).map_or(String::new(), |near| format!(", perhaps {near}"));
        wrong(format!("the sandbox's order fail knows no code {shown:?}{hint}; it knows: {}", known.join(", ")))
    })
}

/// `500ms`, `10s` or `2m`.
fn duration(name: &str, value: &str, longest: Duration) -> Result<Duration, Unsupported> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &value[digits.len()..] {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let millis = digits.parse::<u64>().ok().filter(|_| plain).zip(unit_ms).and_then(|(n, unit)| n.checked_mul(unit));
    millis.map(Duration::from_millis).filter(|duration| *duration <= longest).ok_or_else(|| {
        let shown: String = value.chars().take(64).collect();
        let longest = longest.as_secs();
        wrong(format!(
            "the sandbox's order {name} takes a time up to {longest}s such as 500ms, 10s or 2m, not {shown:?}"
        ))
    })
}

fn wrong(message: String) -> Unsupported {
    Unsupported::new("prompt", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(prompt: &str) -> Script {
        Script::parse(prompt).expect("these orders are right")
    }

    #[test]
    fn orders_are_read_wherever_they_stand() {
        let script = parse("a boat [sandbox duration=10s fail=content_policy] in the\nrain [sandbox progress=none]");
        assert_eq!(script.title, "a boat in the rain");
        assert_eq!(script.duration, Some(Duration::from_secs(10)));
        assert_eq!(script.fail, Some(FailureCode::ContentPolicy));
        assert!(!script.progress && !script.hang);
        let script = parse("[sandbox hang slow_submit=1500ms fail_times=2]");
        assert!(script.hang);
        assert_eq!(script.slow_submit, Duration::from_millis(1_500));
        assert_eq!(script.failure_of(2), Some(FailureCode::ProviderError));
        assert_eq!(script.failure_of(3), None);
        assert_eq!(parse("[sandbox duration=2m]").duration, Some(Duration::from_secs(120)));
        assert_eq!(parse("[sandboxes are fun] [sandbox]").title, "[sandboxes are fun]");
    }

    #[test]
    fn every_failure_code_can_be_ordered() {
        for code in FailureCode::ALL {
            assert_eq!(parse(&format!("x [sandbox fail={}]", code.code())).failure_of(1), Some(code));
        }
    }

    #[test]
    fn a_wrong_order_is_named() {
        let wrong = [
            ("[sandbox durration=10s]", "durration"),
            ("[sandbox duration=10]", "duration"),
            ("[sandbox duration=-1s]", "duration"),
            ("[sandbox duration=1.5s]", "duration"),
            ("[sandbox duration=99999999999999999999s]", "duration"),
            ("[sandbox duration]", "duration"),
            ("[sandbox fail=bad_luck]", "bad_luck"),
            ("[sandbox fail_times=0]", "fail_times"),
            ("[sandbox hang=1]", "hang"),
            ("[sandbox slow_submit=11m]", "slow_submit"),
            ("[sandbox progress=all]", "progress"),
            ("[sandbox hang hang]", "twice"),
            ("[sandbox hang", "closing"),
        ];
        for (prompt, named) in wrong {
            let error = Script::parse(prompt).expect_err(prompt);
            assert_eq!(&*error.param, "prompt");
            assert!(error.message.contains(named), "{prompt}: {}", error.message);
        }
    }
}
