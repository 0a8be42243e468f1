//! `Retry-After`: seconds or an HTTP date, bounded.

use std::time::Duration;

use longtake_core::time::Timestamp;

/// Longest wait we let a provider ask for; a longer one is cut to it.
pub const MAX: Duration = Duration::from_secs(3_600);

/// The wait a `Retry-After` asks for, at most [`MAX`]; `None` where it is neither seconds nor a date.
pub fn parse(text: &str, now: Timestamp) -> Option<Duration> {
    parse_up_to(text, now, MAX)
}

/// The same with another bound.
pub fn parse_up_to(text: &str, now: Timestamp, most: Duration) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for a number is a long wait all the same.
        return Some(text.parse().map_or(most, Duration::from_secs).min(most));
    }
    let then = Timestamp::from_micros(seconds_of_date(text)?.checked_mul(1_000_000)?);
    Some(then.since(now).min(most))
}

/// Unix seconds of `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn seconds_of_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day: i64 = parts.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = parts.next()?;
    let month = MONTHS.iter().position(|known| *known == month)? as i64 + 1;
    let year: i64 = parts.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = parts.next()?.split(':').map(|part| part.parse::<i64>().ok().filter(|n| (0..=60).contains(n)));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if parts.next() != Some("GMT") {
        return None;
    }
    // Days since 1970 of a civil date: years begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era_day = year * 365 + year / 4 - year / 100 + year / 400;
    let days = era_day + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_bounded() {
        let now = Timestamp::from_micros(784_111_777 * 1_000_000);
        assert_eq!(parse("7", now), Some(Duration::from_secs(7)));
        assert_eq!(parse("99999999999999999999999", now), Some(MAX));
        assert_eq!(parse_up_to("7200", now, 3 * MAX), Some(2 * MAX));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse("Sun, 06 Nov 1994 08:50:07 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(parse("Thu, 29 Feb 2024 00:00:00 GMT", now), Some(MAX));
        for junk in ["", "soon", "-1", "1.5", "Sun, 06 Nov 1994", "Sun, 99 Nov 1994 08:49:37 GMT", "x, é é é é é"]
        {
            assert_eq!(parse(junk, now), None, "{junk}");
        }
    }
}
