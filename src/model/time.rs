//! Moments and durations.

use std::fmt;

use jiff::civil;
use jiff::tz::TimeZone;

use crate::limits::{TIME_MAX_MS, TIME_MIN_MS};

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
pub type TimeMs = i64;

pub const SECOND_MS: i64 = 1_000;
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;
pub const WEEK_MS: i64 = 7 * DAY_MS;

/// Why a text is not a moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error(
        "{0:?} is not a time; give RFC 3339 (\"2024-03-01T09:30:00Z\"), a date (\"2024-03-01\") or epoch milliseconds"
    )]
    Syntax(String),
    #[error("the time {0} is outside 1900-01-01 to 2200-01-01; epoch times are in milliseconds")]
    OutOfRange(String),
}

/// Reads an RFC 3339 moment, or a date as its midnight in `zone`. Finer digits than milliseconds are cut.
pub fn parse_time(text: &str, zone: &TimeZone) -> Result<TimeMs, TimeError> {
    let syntax = || TimeError::Syntax(text.chars().take(64).collect());
    let ms = if text.len() == 10 {
        let date: civil::Date = text.parse().map_err(|_| syntax())?;
        let midnight = zone.to_zoned(date.to_datetime(civil::Time::midnight())).map_err(|_| syntax())?;
        midnight.timestamp().as_millisecond()
    } else {
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| syntax())?;
        // `as_millisecond` cuts towards zero, which would move moments before 1970 into the future.
        timestamp.as_nanosecond().div_euclid(1_000_000) as i64
    };
    checked_time(ms).ok_or_else(|| TimeError::OutOfRange(text.chars().take(64).collect()))
}

/// Returns `ms` if it is a moment that can be stored.
pub fn checked_time(ms: i64) -> Option<TimeMs> {
    (TIME_MIN_MS..=TIME_MAX_MS).contains(&ms).then_some(ms)
}

/// Elapsed time, as `7d`, `1h`, `250ms`. Never longer than a billion weeks, never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurationMs(i64);

impl DurationMs {
    pub const fn from_ms(ms: i64) -> DurationMs {
        DurationMs(ms)
    }

    pub fn as_ms(self) -> i64 {
        self.0
    }

    /// Reads `ms`, `s`, `m`, `h`, `d` or `w` of elapsed time, as `"14d"`. `None` if it is none.
    pub fn parse(text: &str) -> Option<DurationMs> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = text[..unit_at].parse().ok()?;
        let unit = match &text[unit_at..] {
            "ms" => 1,
            "s" => SECOND_MS,
            "m" => MINUTE_MS,
            "h" => HOUR_MS,
            "d" => DAY_MS,
            "w" => WEEK_MS,
            _ => return None,
        };
        let ms = count.checked_mul(unit)?;
        (ms <= TIME_MAX_MS - TIME_MIN_MS).then_some(DurationMs(ms))
    }
}

impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units =
            [(WEEK_MS, "w"), (DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "m"), (SECOND_MS, "s"), (1, "ms")];
        let (size, name) = units.into_iter().find(|(size, _)| self.0 % size == 0).expect("1 divides all");
        write!(f, "{}{name}", self.0 / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_millisecond() {
        let utc = TimeZone::UTC;
        assert_eq!(parse_time("1970-01-01T00:00:00.2509Z", &utc), Ok(250));
        assert_eq!(parse_time("1969-12-31T23:59:59.9991Z", &utc), Ok(-1));
        assert_eq!(parse_time("1970-01-01T01:00:00+01:00", &utc), Ok(0));
        assert_eq!(parse_time("1970-01-02", &utc), Ok(DAY_MS));
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(parse_time("1970-01-02", &berlin), Ok(DAY_MS - HOUR_MS));
    }

    #[test]
    fn what_is_no_time_says_what_would_be() {
        let error = parse_time("yesterday", &TimeZone::UTC).unwrap_err();
        assert!(error.to_string().starts_with("\"yesterday\" is not a time; give RFC 3339"));
        assert!(parse_time("9999-01-01", &TimeZone::UTC).is_err());
        assert!(parse_time("2024-02-30", &TimeZone::UTC).is_err());
    }

    #[test]
    fn durations_are_elapsed_time() {
        assert_eq!(DurationMs::parse("2w").map(DurationMs::as_ms), Some(14 * DAY_MS));
        assert_eq!(DurationMs::parse("250ms").map(DurationMs::as_ms), Some(250));
        for text in ["", "7", "d", "-1d", "1.5h", "1mo", "99999999999999w"] {
            assert_eq!(DurationMs::parse(text), None, "{text:?}");
        }
        assert_eq!(DurationMs::from_ms(36 * HOUR_MS).to_string(), "36h");
    }
}
