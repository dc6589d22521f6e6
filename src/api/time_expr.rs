//! Moments as queries write them: absolute, as dates of the query's time zone, or counted back from `as_of`.

use std::ops::Range;

use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{Span, Timestamp, civil};

use super::{Json, Node, Problem, nearest};
use crate::limits::{TIME_MAX_MS, TIME_MIN_MS};
use crate::model::{TimeMs, checked_time, parse_time};

/// A moment that is not definite before time zone and `as_of` are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeExpr {
    At(TimeMs),
    /// The first moment of a date.
    Date(civil::Date),
    Now,
    /// `-6mo`: so many units before now.
    Back {
        count: i64,
        unit: BackUnit,
    },
}

/// Units that relative times count in. Days and longer ones are counted on the calendar, at the same local
/// time; the others are elapsed time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackUnit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

const BACK_UNITS: [(&str, BackUnit); 7] = [
    ("s", BackUnit::Second),
    ("m", BackUnit::Minute),
    ("h", BackUnit::Hour),
    ("d", BackUnit::Day),
    ("w", BackUnit::Week),
    ("mo", BackUnit::Month),
    ("y", BackUnit::Year),
];

/// The largest count of a relative time: a hundred years of seconds, and within what calendars compute.
const BACK_COUNT_MAX: i64 = 3_200_000_000;

const RELATIVE_HINT: &str =
    "relative times are \"now\" and, for example, \"-30d\", \"-12w\", \"-6mo\" or \"-1y\"";

impl TimeExpr {
    pub fn parse(node: &Node<'_>) -> Result<TimeExpr, Problem> {
        if let Json::Number(_) = node.json() {
            return node.integer(TIME_MIN_MS..=TIME_MAX_MS).map(TimeExpr::At).map_err(|problem| {
                problem.hint("numbers are epoch milliseconds between 1900-01-01 and 2200-01-01")
            });
        }
        let text = node.string()?;
        if text == "now" {
            return Ok(TimeExpr::Now);
        }
        if let Some(back) = text.strip_prefix('-') {
            return parse_back(back)
                .ok_or_else(|| node.problem(format!("{text:?} is not a relative time")).hint(RELATIVE_HINT));
        }
        // The zone of a date is not known yet; the check of its range is the same to within a day.
        let time = parse_time(text, &TimeZone::UTC)
            .map_err(|error| node.problem(error.to_string()).hint(RELATIVE_HINT))?;
        Ok(text.parse().ok().filter(|_| text.len() == 10).map_or(TimeExpr::At(time), TimeExpr::Date))
    }

    /// Reads a span of the calendar, `12mo`: the moment so long before another. At least one unit.
    pub(super) fn parse_span(node: &Node<'_>) -> Result<TimeExpr, Problem> {
        let text = node.string()?;
        let back = parse_back(text).filter(|back| !matches!(back, TimeExpr::Back { count: 0, .. }));
        back.ok_or_else(|| {
            let problem = node.problem(format!("{text:?} is not a span of time"));
            problem.hint("for example \"12mo\", \"1y\", \"4w\" or \"90d\"")
        })
    }

    /// The moment, given what now is. Earlier than all times that can be stored becomes the earliest of them.
    pub fn resolve(self, now: TimeMs, zone: &TimeZone) -> TimeMs {
        match self {
            TimeExpr::At(time) => time,
            TimeExpr::Now => now,
            TimeExpr::Date(date) => start_of_date(date, zone).unwrap_or(TIME_MIN_MS),
            TimeExpr::Back { count, unit } => count_back(now, count, unit, zone).unwrap_or(TIME_MIN_MS),
        }
    }
}

fn parse_back(text: &str) -> Option<TimeExpr> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(unit_at);
    let (_, unit) = *BACK_UNITS.iter().find(|(name, _)| *name == unit)?;
    let count = count.parse().ok().filter(|count| *count <= BACK_COUNT_MAX)?;
    Some(TimeExpr::Back { count, unit })
}

/// `None` if the moment is too early to be stored.
fn count_back(now: TimeMs, count: i64, unit: BackUnit, zone: &TimeZone) -> Option<TimeMs> {
    let span = Span::new();
    let span = match unit {
        BackUnit::Second => span.try_seconds(count),
        BackUnit::Minute => span.try_minutes(count),
        BackUnit::Hour => span.try_hours(count),
        BackUnit::Day => span.try_days(count),
        BackUnit::Week => span.try_weeks(count),
        BackUnit::Month => span.try_months(count),
        BackUnit::Year => span.try_years(count),
    };
    let now = Timestamp::from_millisecond(now).ok()?.to_zoned(zone.clone());
    checked_time(now.checked_sub(span.ok()?).ok()?.timestamp().as_millisecond())
}

/// The first moment of a date: midnight, or where clocks skip it, the moment they do. `None` beyond year 9999.
pub fn start_of_date(date: civil::Date, zone: &TimeZone) -> Option<TimeMs> {
    let midnight = zone.to_ambiguous_zoned(date.to_datetime(civil::Time::midnight()));
    let is_skipped = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
    let start = midnight.compatible().ok()?.timestamp();
    let start = if is_skipped {
        zone.preceding(start + Span::new().nanoseconds(1)).next()?.timestamp()
    } else {
        start
    };
    Some(start.as_millisecond())
}

/// The time zone of that IANA name.
pub fn parse_zone(node: &Node<'_>) -> Result<TimeZone, Problem> {
    let name = node.string()?;
    if ["UTC", "Etc/UTC", "Z"].contains(&name) {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| {
        let problem = node.problem(format!("{name:?} is not a time zone"));
        let known: Vec<String> = jiff::tz::db().available().map(|known| known.to_string()).collect();
        match nearest(name, known.iter().map(String::as_str)) {
            Some(known) => problem.hint(format!("did you mean {known:?}?")),
            None => problem.hint("give a name of the IANA database, such as \"Europe/Berlin\""),
        }
    })
}

/// Whether clocks of the zone always show UTC.
pub fn is_utc(zone: &TimeZone) -> bool {
    zone.to_fixed_offset().is_ok_and(|offset| offset == Offset::UTC)
}

/// A `from` and a `to`, each of which may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub from: Option<TimeExpr>,
    pub to: Option<TimeExpr>,
    /// The pointer of the object that has them.
    pub path: String,
}

impl TimeRange {
    /// The half-open range of moments: all history without `from`, up to and including `as_of` without `to`,
    /// which is nothing if `from` is later still.
    ///
    /// # Errors
    /// If `to` is given and earlier than `from`.
    pub fn resolve(&self, as_of: TimeMs, zone: &TimeZone) -> Result<Range<TimeMs>, Problem> {
        let from = self.from.map_or(TIME_MIN_MS, |from| from.resolve(as_of, zone));
        let Some(to) = self.to else { return Ok(from..from.max(as_of + 1)) };
        let to = to.resolve(as_of, zone);
        if from > to {
            let problem = Problem::invalid("\"from\" is later than \"to\"").at(format!("{}/from", self.path));
            return Err(problem.hint("a range is from its start to the first moment after it"));
        }
        Ok(from..to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DAY_MS, HOUR_MS};

    fn parse(json: &str) -> Result<TimeExpr, Problem> {
        TimeExpr::parse(&Json::parse(json.as_bytes()).unwrap().root())
    }

    fn at(text: &str) -> TimeMs {
        parse_time(text, &TimeZone::UTC).unwrap()
    }

    fn resolve(json: &str, now: &str, zone: &str) -> TimeMs {
        parse(json).unwrap().resolve(at(now), &TimeZone::get(zone).unwrap())
    }

    #[test]
    fn relative_times_go_back_on_the_calendar() {
        let now = "2024-03-31T10:00:00.250Z";
        assert_eq!(resolve("\"-1mo\"", now, "UTC"), at("2024-02-29T10:00:00.250Z"));
        assert_eq!(resolve("\"-2w\"", now, "UTC"), at(now) - 14 * DAY_MS);
        // The clocks of Berlin went forward that night: the same local time is 23 hours ago.
        assert_eq!(resolve("\"-1d\"", now, "Europe/Berlin"), at(now) - 23 * HOUR_MS);
        assert_eq!(resolve("\"-24h\"", now, "Europe/Berlin"), at(now) - 24 * HOUR_MS);
        assert_eq!(resolve("\"now\"", now, "UTC"), at(now));
        assert_eq!(resolve("\"-5000y\"", now, "UTC"), TIME_MIN_MS);
    }

    #[test]
    fn dates_begin_in_the_zone_of_the_query() {
        assert_eq!(resolve("\"2024-03-01\"", "2024-03-31", "Asia/Kolkata"), at("2024-02-29T18:30:00Z"));
        assert_eq!(resolve("1700000000000", "2024-03-31", "Asia/Kolkata"), 1_700_000_000_000);
    }

    #[test]
    fn a_skipped_midnight_begins_when_the_clocks_jump() {
        let beirut = TimeZone::get("Asia/Beirut").unwrap();
        let start = start_of_date(civil::date(2024, 3, 31), &beirut).unwrap();
        assert_eq!(start, at("2024-03-30T22:00:00Z"));
        // Toronto skipped 23:30 to 0:30, so the day began at 0:30.
        let toronto = TimeZone::get("America/Toronto").unwrap();
        let start = start_of_date(civil::date(1919, 3, 31), &toronto).unwrap();
        assert_eq!(start, at("1919-03-31T00:30:00-04:00"));
    }

    #[test]
    fn what_is_no_time_is_told_with_what_would_be() {
        for wrong in ["\"-30\"", "\"-d\"", "\"-1.5d\"", "\"-1q\"", "\"yesterday\"", "\"2024-02-30\""] {
            let problem = parse(wrong).unwrap_err();
            assert_eq!(problem.hint.as_deref(), Some(RELATIVE_HINT), "{wrong}");
        }
        assert!(parse("1e300").unwrap_err().hint.unwrap().contains("epoch milliseconds"));
        assert!(parse("true").unwrap_err().detail.contains("expected a string"));
    }

    #[test]
    fn zones_are_names_of_the_database() {
        let zone = |name: &str| parse_zone(&Json::String(name.to_owned()).root());
        assert!(is_utc(&zone("UTC").unwrap()));
        assert!(!is_utc(&zone("Europe/London").unwrap()));
        assert_eq!(
            zone("Europe/Berln").unwrap_err().hint.as_deref(),
            Some("did you mean \"Europe/Berlin\"?")
        );
    }

    #[test]
    fn a_range_that_runs_backwards_is_an_error_at_its_start() {
        let range = |from, to| TimeRange { from, to, path: "/cohort".to_owned() };
        let utc = TimeZone::UTC;
        assert_eq!(range(None, None).resolve(5, &utc), Ok(TIME_MIN_MS..6));
        assert_eq!(range(Some(TimeExpr::Now), None).resolve(5, &utc), Ok(5..6));
        let problem = range(Some(TimeExpr::At(9)), Some(TimeExpr::At(8))).resolve(5, &utc).unwrap_err();
        assert_eq!(problem.path.as_deref(), Some("/cohort/from"));
        assert_eq!(range(Some(TimeExpr::At(9)), None).resolve(5, &utc), Ok(9..9));
    }
}
