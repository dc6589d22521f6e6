//! Reads the times that files carry: more forms than requests take, and local ones in a zone.

use jiff::civil;
use jiff::tz::TimeZone;

use super::fault::{Fault, excerpt};
use crate::model::{Number, TimeMs, checked_time, parse_time};

/// What a whole number counts, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    Seconds,
    Milliseconds,
    Microseconds,
}

impl TimeUnit {
    /// The power of ten that turns the unit into milliseconds.
    fn exponent(self) -> i32 {
        match self {
            TimeUnit::Seconds => 3,
            TimeUnit::Milliseconds => 0,
            TimeUnit::Microseconds => -3,
        }
    }
}

/// How the times of one import are read.
#[derive(Clone, Debug)]
pub struct TimeReader {
    /// Where times without an offset, and dates, were written down.
    pub zone: TimeZone,
    /// Without it a number is no time, because nobody can tell seconds from milliseconds for certain.
    pub unit: Option<TimeUnit>,
}

impl TimeReader {
    /// Reads RFC 3339, `2024-03-01`, `20240301`, `2024-03-01 09:30:00[.250][ UTC]`, or a number of the unit.
    pub(crate) fn read(&self, text: &str) -> Result<TimeMs, Fault> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return self.read_number(text);
        }
        if let Ok(ms) = parse_time(text, &self.zone) {
            return Ok(ms);
        }
        let (local, zone) = match text.strip_suffix(" UTC") {
            Some(local) => (local, &TimeZone::UTC),
            None => (text, &self.zone),
        };
        match local.parse::<civil::DateTime>() {
            Ok(local) => in_zone(local, zone).ok_or_else(|| out_of_range(text)),
            // Not a local time either: the reason why it is no RFC 3339 time is the better one to tell.
            Err(_) => parse_time(text, &self.zone).map_err(|error| Fault::new(error.to_string())),
        }
    }

    fn read_number(&self, text: &str) -> Result<TimeMs, Fault> {
        let found = excerpt(text);
        let Some(unit) = self.unit else {
            return compact_date(text).and_then(|date| in_zone(date, &self.zone)).ok_or_else(|| {
                Fault::new(format!(
                    "the time {found} is a number of an unknown unit, and no date as 20240301"
                ))
                .hint("say --time-unit s, ms or us if it counts since 1970")
            });
        };
        let ms = Number::parse(text).ok().and_then(|number| {
            // Digits finer than a millisecond are cut towards the past, as in RFC 3339 times.
            let exponent = number.exponent() + unit.exponent();
            let divisor = 10_i128.checked_pow((-exponent).max(0) as u32)?;
            let factor = 10_i128.checked_pow(exponent.max(0) as u32)?;
            i64::try_from(number.mantissa().checked_mul(factor)?.div_euclid(divisor)).ok()
        });
        ms.and_then(checked_time).ok_or_else(|| out_of_range(text).hint("is the --time-unit right?"))
    }
}

/// The midnight that starts a date written as `20240301`.
fn compact_date(text: &str) -> Option<civil::DateTime> {
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i32 = text.parse().ok()?;
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    let date = civil::Date::new(year as i16, month as i8, day as i8).ok()?;
    Some(date.to_datetime(civil::Time::midnight()))
}

fn in_zone(local: civil::DateTime, zone: &TimeZone) -> Option<TimeMs> {
    let nanoseconds = zone.to_timestamp(local).ok()?.as_nanosecond();
    checked_time(nanoseconds.div_euclid(1_000_000) as i64)
}

fn out_of_range(text: &str) -> Fault {
    Fault::new(format!("the time {} is outside 1900-01-01 to 2200-01-01", excerpt(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, zone: &str, unit: Option<TimeUnit>) -> Result<TimeMs, String> {
        let zone = TimeZone::get(zone).unwrap();
        TimeReader { zone, unit }.read(text).map_err(|fault| fault.sentence())
    }

    #[test]
    fn every_form_of_a_moment_is_the_same_moment() {
        let moment = Ok(1_709_285_400_000);
        for text in [
            "2024-03-01T09:30:00Z",
            "2024-03-01T10:30:00+01:00",
            "2024-03-01 09:30:00",
            "2024-03-01 09:30:00.000",
            "2024-03-01T09:30:00",
            "2024-03-01 09:30:00 UTC",
        ] {
            assert_eq!(read(text, "UTC", None), moment, "{text}");
        }
        assert_eq!(read("2024-03-01 10:30:00", "Europe/Berlin", None), moment);
        assert_eq!(read("2024-03-01 09:30:00 UTC", "Europe/Berlin", None), moment);
        assert_eq!(read("1709285400", "UTC", Some(TimeUnit::Seconds)), moment);
        assert_eq!(read("1709285400.000", "UTC", Some(TimeUnit::Seconds)), moment);
        assert_eq!(read("1709285400000", "UTC", Some(TimeUnit::Milliseconds)), moment);
        assert_eq!(read("1709285400000999", "UTC", Some(TimeUnit::Microseconds)), moment);
    }

    #[test]
    fn a_compact_date_is_its_midnight() {
        assert_eq!(read("20240301", "UTC", None), Ok(1_709_251_200_000));
        assert_eq!(read("20240301", "Europe/Berlin", None), Ok(1_709_247_600_000));
        assert!(read("20241301", "UTC", None).is_err());
    }

    #[test]
    fn a_number_of_an_unknown_unit_is_no_time() {
        assert!(read("1709285400", "UTC", None).unwrap_err().contains("--time-unit"));
        assert!(read("1709285400000", "UTC", Some(TimeUnit::Seconds)).unwrap_err().contains("right?"));
        assert!(read("1.2.3", "UTC", Some(TimeUnit::Seconds)).is_err());
        assert!(read("", "UTC", None).is_err());
        assert!(read("yesterday", "UTC", None).unwrap_err().contains("RFC 3339"));
    }
}
