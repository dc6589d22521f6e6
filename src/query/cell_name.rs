//! Cells of a result, named as its table does: by the leading columns of their rows.
//!
//! A named cell is a set of users. A value of a breakdown that has no row names nobody, so that a stored name
//! stays good while values come and go; a bucket that the table does not tell is an error.

use std::ops::Range;

use super::Calendar;
use super::split::OTHER;
use crate::api::{Fields, Json, Node, Problem, TimeExpr};
use crate::model::{TimeMs, Value};

/// The name of a row in one property of a breakdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotName {
    Value(Value),
    /// All values past the limit.
    Other,
    /// A missing value.
    Null,
}

/// The fields of a breakdown, in the order of its columns.
const FIELDS: [&str; crate::limits::BREAKDOWN_PROPERTY_COUNT_MAX] =
    ["breakdown", "breakdown_2", "breakdown_3"];

impl SlotName {
    /// Reads the name of a row: a field for each of so many properties.
    pub fn read_all(fields: &mut Fields<'_>, property_count: usize) -> Result<Vec<SlotName>, Problem> {
        FIELDS.into_iter().take(property_count).map(|name| SlotName::read(fields, name)).collect()
    }

    /// Reads the name of a row in one property from the field of that name.
    pub fn read(fields: &mut Fields<'_>, name: &'static str) -> Result<SlotName, Problem> {
        let is_null = fields.has(name);
        match fields.optional(name) {
            Some(node) if *node.json() == Json::String(OTHER.to_owned()) => Ok(SlotName::Other),
            Some(node) => node.scalar().map(SlotName::Value),
            None if is_null => Ok(SlotName::Null),
            None => fields.required(name).map(|_| SlotName::Null),
        }
    }
}

/// Reads the time of a row: the start of one of these buckets.
pub fn read_bucket(
    node: &Node<'_>,
    calendar: &Calendar,
    buckets: Range<usize>,
    as_of: TimeMs,
) -> Result<usize, Problem> {
    // The one bucket of a whole range is told at the date that it begins on, at whatever time of the day.
    if buckets.len() == 1 && *node.json() == Json::String(calendar.label(buckets.start)) {
        return Ok(buckets.start);
    }
    let time = TimeExpr::parse(node)?.resolve(as_of, calendar.zone());
    let bucket = calendar.bucket_of(time).filter(|bucket| calendar.start(*bucket) == time);
    bucket.filter(|bucket| buckets.contains(bucket)).ok_or_else(|| {
        let problem = node.problem("no row of the result has this time");
        if buckets.is_empty() {
            return problem;
        }
        let (first, last) = (calendar.label(buckets.start), calendar.label(buckets.end - 1));
        problem.hint(format!("its rows go from {first} to {last}"))
    })
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::api::{Interval, WeekStart};
    use crate::model::DAY_MS;

    fn names(json: &str, property_count: usize) -> Result<Vec<SlotName>, Problem> {
        let json = Json::parse(json.as_bytes()).unwrap();
        SlotName::read_all(&mut json.root().object().unwrap(), property_count)
    }

    #[test]
    fn every_property_has_a_field_and_null_is_a_name() {
        let value = SlotName::Value(Value::from("de"));
        assert_eq!(
            names(r#"{"breakdown": "de", "breakdown_2": null, "breakdown_3": "$other"}"#, 3).unwrap(),
            [value, SlotName::Null, SlotName::Other]
        );
        assert_eq!(names("{}", 0).unwrap(), []);
        assert!(names(r#"{"breakdown": "de"}"#, 2).unwrap_err().detail.contains("breakdown_2"));
    }

    #[test]
    fn a_time_is_the_start_of_a_told_bucket() {
        let calendar =
            Calendar::new(Interval::Week, &TimeZone::UTC, WeekStart::Monday, 4 * DAY_MS..25 * DAY_MS)
                .unwrap();
        let bucket = |text: &str, buckets: Range<usize>| {
            let json = Json::String(text.to_owned());
            read_bucket(&json.root(), &calendar, buckets, 0)
        };
        assert_eq!(bucket("1970-01-12", 0..3).unwrap(), 1);
        assert_eq!(bucket("1970-01-12T00:00:00Z", 0..3).unwrap(), 1);
        assert_eq!(
            bucket("1970-01-13", 0..3).unwrap_err().hint.unwrap(),
            "its rows go from 1970-01-05 to 1970-01-19"
        );
        assert!(bucket("1970-01-05", 1..3).is_err());
    }

    #[test]
    fn a_whole_range_is_named_by_its_date() {
        let range = DAY_MS + 5..9 * DAY_MS;
        let calendar = Calendar::new(Interval::Total, &TimeZone::UTC, WeekStart::Monday, range).unwrap();
        let bucket = |text: &str| read_bucket(&Json::String(text.to_owned()).root(), &calendar, 0..1, 0);
        assert_eq!(bucket("1970-01-02").unwrap(), 0);
        assert!(bucket("1970-01-03").is_err());
    }
}
