//! Conditions and ranges of RFC 9110, for bytes with a strong entity tag.
//!
//! One range is served as asked. Several at once are answered with the whole, which the RFC allows: no player asks so.

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200 with everything.
    Whole,
    /// 206 with these bytes: first and last, both included.
    Part(u64, u64),
    /// 304: the client has it.
    NotModified,
    /// 412: the client means other bytes.
    PreconditionFailed,
    /// 416: nothing of it lies inside.
    NotSatisfiable,
}

/// Chooses the answer, conditions first, as RFC 9110 section 13.2.2 orders them.
pub fn choose(headers: &HeaderMap, etag: &str, len: u64) -> Answer {
    if headers.contains_key(IF_MATCH) && !names(headers, IF_MATCH, etag, false) {
        return Answer::PreconditionFailed;
    }
    if headers.contains_key(IF_NONE_MATCH) && names(headers, IF_NONE_MATCH, etag, true) {
        return Answer::NotModified;
    }
    // A range of a thing that changed meanwhile would not fit the client's other parts. A date cannot be compared here.
    let same = headers.get(IF_RANGE).is_none_or(|value| value.to_str().is_ok_and(|value| value.trim() == etag));
    let mut ranges = headers.get_all(RANGE).iter();
    match (ranges.next().and_then(|value| value.to_str().ok()), ranges.next()) {
        (Some(text), None) if same => part(text, len),
        _ => Answer::Whole,
    }
}

/// Whether a list of entity tags names this one. Ours is strong, so only a weak comparison may ignore `W/`.
fn names(headers: &HeaderMap, name: http::HeaderName, etag: &str, weak: bool) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|tag| {
        let tag = if weak { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
        tag == "*" || tag == etag
    })
}

/// A `Range` that cannot be understood is none: the whole is answered.
fn part(text: &str, len: u64) -> Answer {
    let Some((unit, ranges)) = text.split_once('=') else { return Answer::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return Answer::Whole;
    }
    let Some((first, last)) = ranges.trim().split_once('-') else { return Answer::Whole };
    match (number(first), number(last)) {
        (Digits::None, Digits::Some(suffix)) => match (suffix, len) {
            (0, _) | (_, 0) => Answer::NotSatisfiable,
            _ => Answer::Part(len.saturating_sub(suffix), len - 1),
        },
        (Digits::Some(first), Digits::None) if first < len => Answer::Part(first, len - 1),
        (Digits::Some(first), Digits::Some(last)) if first > last => Answer::Whole,
        (Digits::Some(first), Digits::Some(last)) if first < len => Answer::Part(first, last.min(len - 1)),
        (Digits::Some(_), Digits::None | Digits::Some(_)) => Answer::NotSatisfiable,
        _ => Answer::Whole,
    }
}

enum Digits {
    None,
    Some(u64),
    Junk,
}

/// A number too large to count is larger than every file.
fn number(text: &str) -> Digits {
    match text.trim() {
        "" => Digits::None,
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => Digits::Some(text.parse().unwrap_or(u64::MAX)),
        _ => Digits::Junk,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const ETAG: &str = "\"abc\"";

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn ranges() {
        for (text, answer) in [
            ("bytes=0-0", Answer::Part(0, 0)),
            ("bytes=0-99", Answer::Part(0, 99)),
            ("bytes=0-100000", Answer::Part(0, 99)),
            ("bytes=10-", Answer::Part(10, 99)),
            ("bytes=-10", Answer::Part(90, 99)),
            ("bytes=-1000", Answer::Part(0, 99)),
            ("Bytes = 5-6", Answer::Part(5, 6)),
            ("bytes=0-99999999999999999999999", Answer::Part(0, 99)),
            ("bytes=-0", Answer::NotSatisfiable),
            ("bytes=100-", Answer::NotSatisfiable),
            ("bytes=99999999999999999999999-", Answer::NotSatisfiable),
            ("bytes=5-4", Answer::Whole),
            ("bytes=0-1,3-4", Answer::Whole),
            ("bytes=a-b", Answer::Whole),
            ("bytes=-", Answer::Whole),
            ("items=0-1", Answer::Whole),
            ("0-1", Answer::Whole),
        ] {
            assert_eq!(choose(&headers(&[(RANGE, text)]), ETAG, 100), answer, "{text}");
        }
        assert_eq!(choose(&headers(&[(RANGE, "bytes=0-")]), ETAG, 0), Answer::NotSatisfiable);
    }

    #[test]
    fn conditions_come_first() {
        let range = (RANGE, "bytes=0-1");
        for (pairs, answer) in [
            (vec![(IF_NONE_MATCH, "\"abc\""), range.clone()], Answer::NotModified),
            (vec![(IF_NONE_MATCH, "W/\"abc\"")], Answer::NotModified),
            (vec![(IF_NONE_MATCH, "*")], Answer::NotModified),
            (vec![(IF_NONE_MATCH, "\"x\", \"y\"")], Answer::Whole),
            (vec![(IF_MATCH, "\"x\"")], Answer::PreconditionFailed),
            (vec![(IF_MATCH, "W/\"abc\"")], Answer::PreconditionFailed),
            (vec![(IF_MATCH, "\"x\", \"abc\""), range.clone()], Answer::Part(0, 1)),
            (vec![(IF_RANGE, "\"abc\""), range.clone()], Answer::Part(0, 1)),
            (vec![(IF_RANGE, "\"old\""), range.clone()], Answer::Whole),
            (vec![(IF_RANGE, "W/\"abc\""), range.clone()], Answer::Whole),
            (vec![(IF_RANGE, "Wed, 21 Oct 2015 07:28:00 GMT"), range.clone()], Answer::Whole),
        ] {
            assert_eq!(choose(&headers(&pairs), ETAG, 100), answer, "{pairs:?}");
        }
    }
}
