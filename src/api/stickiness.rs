//! The query `stickiness`: on how many intervals of a period users are active.

use super::lifecycle::parse_lasting;
use super::{Breakdown, Fields, Interval, Node, Problem, Selector};
use crate::limits::{RETENTION_AT_LEAST_MAX, STICKINESS_INTERVAL_COUNT_MAX};

#[derive(Clone, Debug)]
pub struct StickinessQuery {
    /// What makes a user active.
    pub selector: Selector,
    /// Never [`Interval::Total`].
    pub interval: Interval,
    pub period: Period,
    /// Events that make an interval active. At least 1.
    pub at_least: u32,
    pub told: StickinessTold,
    /// By what users or their accounts are, never by what an event carries.
    pub breakdowns: Vec<Breakdown>,
}

/// What a stickiness tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickinessTold {
    /// Users by exactly how many active intervals of a period.
    Exactly,
    /// Users by at least how many.
    AtLeast,
    /// For each interval, the users active in it and those active in the period that ends with it.
    Ratio,
}

/// How many intervals are looked at together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A longer unit of the calendar, never [`Interval::Total`]. An interval belongs to the one it starts in.
    Calendar(Interval),
    /// So many intervals, the last of which ends the period.
    Trailing(u32),
}

impl StickinessQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<StickinessQuery, Problem> {
        let selector =
            fields.optional("event").map_or(Ok(Selector::any()), |selector| Selector::parse(&selector))?;
        let interval = Interval::parse_repeated(fields)?;
        let period = match fields.optional("period") {
            Some(period) => Period::parse(&period, interval)?,
            None if interval < Interval::Month => Period::Calendar(Interval::Month),
            None => {
                let problem = fields.node().problem("a period is longer than its intervals");
                let path = format!("{}/interval", fields.node().path());
                return Err(problem.at(path).hint("give a \"period\", for example \"year\""));
            }
        };
        let at_least =
            fields.optional("at_least").map_or(Ok(1), |count| count.integer(1..=RETENTION_AT_LEAST_MAX))?;
        let is_cumulative = fields.optional("cumulative").map_or(Ok(false), |flag| flag.bool())?;
        let is_ratio = fields.optional("ratio").map_or(Ok(false), |flag| flag.bool())?;
        let told = match (is_ratio, is_cumulative) {
            (true, true) => {
                let problem = fields.node().problem("a ratio tells no numbers of intervals to add up");
                let path = format!("{}/cumulative", fields.node().path());
                return Err(problem.at(path).hint("ask for either"));
            }
            (true, false) => StickinessTold::Ratio,
            (false, true) => StickinessTold::AtLeast,
            (false, false) => StickinessTold::Exactly,
        };
        let breakdowns = parse_lasting(fields)?;
        Ok(StickinessQuery { selector, interval, period, at_least: at_least as u32, told, breakdowns })
    }
}

impl Period {
    fn parse(node: &Node<'_>, interval: Interval) -> Result<Period, Problem> {
        if node.string()?.starts_with(|first: char| first.is_ascii_digit()) {
            return parse_trailing(node, interval);
        }
        let unit = node.word(&[
            ("hour", Interval::Hour),
            ("day", Interval::Day),
            ("week", Interval::Week),
            ("month", Interval::Month),
            ("quarter", Interval::Quarter),
            ("year", Interval::Year),
        ]);
        let unit = unit.map_err(|problem| match problem.hint {
            Some(_) => problem,
            None => problem.hint("a period is a word such as \"month\", or trailing, such as \"28d\""),
        })?;
        if unit <= interval {
            let problem = node.problem("a period is longer than its intervals");
            return Err(problem.hint("ask for a longer period or a shorter interval"));
        }
        Ok(Period::Calendar(unit))
    }
}

/// A trailing period counts intervals, in their own unit; weeks may count days.
fn parse_trailing(node: &Node<'_>, interval: Interval) -> Result<Period, Problem> {
    let (unit, unit_hint) = match interval {
        Interval::Minute => ("m", "minutes, for example \"60m\""),
        Interval::Hour => ("h", "hours, for example \"24h\""),
        Interval::Day => ("d", "days, for example \"28d\" or \"4w\""),
        Interval::Week => ("w", "weeks, for example \"8w\""),
        Interval::Month => ("mo", "months, for example \"6mo\""),
        Interval::Quarter | Interval::Year | Interval::Total => {
            let problem = node.problem("a trailing period is of minutes, hours, days, weeks or months");
            return Err(problem.hint("give a shorter \"interval\""));
        }
    };
    let text = node.string()?;
    let count = text.strip_suffix(unit).and_then(|count| parse_count(count, 1)).or_else(|| {
        let weeks = text.strip_suffix('w').filter(|_| interval == Interval::Day)?;
        parse_count(weeks, 7)
    });
    let count = count.ok_or_else(|| {
        node.problem(format!(
            "{text:?} is not a number of intervals, of 1 to {STICKINESS_INTERVAL_COUNT_MAX}"
        ))
        .hint(format!("this interval has trailing periods of {unit_hint}"))
    })?;
    Ok(Period::Trailing(count as u32))
}

fn parse_count(text: &str, factor: i64) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let count = text.parse::<i64>().ok().filter(|_| digits)?.checked_mul(factor)?;
    (1..=STICKINESS_INTERVAL_COUNT_MAX).contains(&count).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::super::{Json, QueryKind, QueryRequest};
    use super::*;

    fn parse(rest: &str) -> Result<StickinessQuery, Problem> {
        let body = format!(r#"{{"kind": "stickiness"{rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::Stickiness(query) = request.kind else { panic!("a stickiness") };
        Ok(query)
    }

    #[test]
    fn days_of_a_month_are_counted_unless_said() {
        let query = parse("").unwrap();
        assert_eq!((query.interval, query.period), (Interval::Day, Period::Calendar(Interval::Month)));
        assert_eq!((query.at_least, query.told), (1, StickinessTold::Exactly));
    }

    #[test]
    fn a_trailing_period_counts_intervals() {
        let period = |rest: &str| parse(rest).unwrap().period;
        assert_eq!(period(r#", "period": "28d""#), Period::Trailing(28));
        assert_eq!(period(r#", "period": "4w""#), Period::Trailing(28));
        assert_eq!(period(r#", "period": "4w", "interval": "week""#), Period::Trailing(4));
        assert_eq!(period(r#", "period": "6mo", "interval": "month""#), Period::Trailing(6));
    }

    #[test]
    fn errors_name_the_place() {
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#", "period": "0d""#), "/period");
        assert_eq!(path(r#", "period": "28d", "interval": "week""#), "/period");
        assert_eq!(path(r#", "period": "99999d""#), "/period");
        assert_eq!(path(r#", "period": "day""#), "/period");
        assert_eq!(path(r#", "period": "total""#), "/period");
        assert_eq!(path(r#", "interval": "year""#), "/interval");
        assert_eq!(path(r#", "interval": "year", "period": "2d""#), "/period");
        assert_eq!(path(r#", "at_least": 0"#), "/at_least");
        assert_eq!(path(r#", "ratio": true, "cumulative": true"#), "/cumulative");
        assert_eq!(path(r#", "breakdown": {"property": "plan", "on": "event"}"#), "/breakdown");
    }
}
