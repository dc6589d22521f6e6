//! The query `retention`: who came back, by when they began.

use super::filter::parse_property;
use super::{Breakdown, Fields, Interval, Json, Node, Problem, Selector};
use crate::limits::{RETENTION_AT_LEAST_MAX, RETENTION_PERIOD_COUNT_MAX};
use crate::model::{DAY_MS, HOUR_MS, MINUTE_MS, WEEK_MS};

#[derive(Clone, Debug)]
pub struct RetentionQuery {
    /// What starts the clock.
    pub birth: Selector,
    /// What counts as back.
    pub returns: Selector,
    /// Whether the same was written for both.
    pub returns_by_births: bool,
    /// Never [`Interval::Total`].
    pub interval: Interval,
    /// How many intervals each period after the birth's own is wide. The birth's own, period 0, is one wide.
    pub widths: Vec<u32>,
    pub cohorts: CohortRule,
    pub alignment: Alignment,
    pub mode: ReturnMode,
    /// Return events within a period that make a return. At least 1.
    pub at_least: u32,
    pub measure: ReturnMeasure,
    /// Whether one curve over all cohorts is told.
    pub is_summary: bool,
    pub breakdowns: Vec<Breakdown>,
}

/// Which births found a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CohortRule {
    /// The user's first birth event ever, if it lies in the range.
    FirstTime,
    /// The user's first birth event in the range.
    FirstInRange,
    /// A user joins the cohort of every interval with a birth event.
    Recurring,
}

/// Where periods begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// Periods are intervals of the calendar.
    Calendar,
    /// Periods are counted from each birth, in intervals of so many milliseconds.
    Rolling { interval_ms: i64 },
}

/// In which periods a member who was back counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnMode {
    /// In that period.
    On,
    /// In that one or any later one.
    OnOrAfter,
    /// In any from period 1 up to that one.
    OnOrBefore,
    /// In every one from period 1 up to that one.
    Streak,
}

/// What is told of those who are back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReturnMeasure {
    /// How many they are.
    Users,
    /// The sum of a property over their return events.
    Sum(String),
    /// The same for each member.
    Average(String),
}

impl ReturnMeasure {
    /// The property that is added up, if one is.
    pub fn property(&self) -> Option<&str> {
        match self {
            ReturnMeasure::Users => None,
            ReturnMeasure::Sum(property) | ReturnMeasure::Average(property) => Some(property),
        }
    }
}

impl RetentionQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<RetentionQuery, Problem> {
        let birth_node = fields.required("birth")?;
        let birth = Selector::parse(&birth_node)?;
        let return_node = fields.optional("return");
        let returns_by_births = return_node.as_ref().is_some_and(|node| node.json() == birth_node.json());
        let returns = return_node.map_or(Ok(Selector::any()), |selector| Selector::parse(&selector))?;
        let interval = Interval::parse_repeated(fields)?;
        let mode_node = fields.optional("mode");
        let (mode, brackets) = mode_node.as_ref().map_or(Ok((ReturnMode::On, None)), parse_mode)?;
        let widths = match brackets {
            Some(widths) => match fields.optional("periods") {
                Some(periods) => {
                    return Err(periods.problem("brackets are the periods, so that \"periods\" is left out"));
                }
                None => widths,
            },
            None => {
                let count = fields.required("periods")?.integer(0..=RETENTION_PERIOD_COUNT_MAX)?;
                vec![1; count as usize]
            }
        };
        let cohorts = match fields.optional("cohorts") {
            Some(rule) => rule.word(&[
                ("first_time", CohortRule::FirstTime),
                ("first_in_range", CohortRule::FirstInRange),
                ("recurring", CohortRule::Recurring),
            ])?,
            None => CohortRule::FirstTime,
        };
        let alignment = fields
            .optional("alignment")
            .map_or(Ok(Alignment::Calendar), |word| parse_alignment(&word, interval))?;
        let measure =
            fields.optional("measure").map_or(Ok(ReturnMeasure::Users), |measure| parse_measure(&measure))?;
        let at_least = fields.optional("at_least");
        if measure != ReturnMeasure::Users {
            let users_only = |problem: Problem| problem.hint("leave out \"measure\", or give \"users\"");
            if let Some(at_least) = at_least {
                return Err(users_only(at_least.problem("at_least goes with the measure users only")));
            }
            if let Some(node) = mode_node.filter(|_| mode == ReturnMode::Streak) {
                return Err(users_only(node.problem("a streak goes with the measure users only")));
            }
        }
        let at_least = at_least.map_or(Ok(1), |count| count.integer(1..=RETENTION_AT_LEAST_MAX))? as u32;
        let is_summary = fields.optional("summary").map_or(Ok(false), |flag| flag.bool())?;
        let breakdowns = Breakdown::parse_list(fields, false)?;
        Ok(RetentionQuery {
            birth,
            returns,
            returns_by_births,
            interval,
            widths,
            cohorts,
            alignment,
            mode,
            at_least,
            measure,
            is_summary,
            breakdowns,
        })
    }
}

/// The mode, and for brackets the widths of their periods.
fn parse_mode(node: &Node<'_>) -> Result<(ReturnMode, Option<Vec<u32>>), Problem> {
    const KNOWN: &str =
        "known modes: \"on\", \"on_or_after\", \"on_or_before\", \"streak\", {\"brackets\": [1, 3, 7]}";
    let Json::Object(_) = node.json() else {
        let mode = node.word(&[
            ("on", ReturnMode::On),
            ("on_or_after", ReturnMode::OnOrAfter),
            ("on_or_before", ReturnMode::OnOrBefore),
            ("streak", ReturnMode::Streak),
        ]);
        return mode.map(|mode| (mode, None)).map_err(|problem| match problem.hint {
            Some(_) => problem,
            None => problem.hint(KNOWN),
        });
    };
    let mut fields = node.object()?;
    let brackets = fields.required("brackets").map_err(|problem| problem.hint(KNOWN))?;
    fields.finish()?;
    let widths = brackets.array()?;
    let widths: Vec<u32> = widths
        .iter()
        .map(|width| width.integer(1..=RETENTION_PERIOD_COUNT_MAX).map(|width| width as u32))
        .collect::<Result<_, _>>()?;
    let total: i64 = widths.iter().map(|width| i64::from(*width)).sum();
    if widths.is_empty() || total > RETENTION_PERIOD_COUNT_MAX {
        return Err(brackets.problem(format!(
            "brackets are 1 or more widths, of at most {RETENTION_PERIOD_COUNT_MAX} intervals together"
        )));
    }
    Ok((ReturnMode::On, Some(widths)))
}

fn parse_alignment(node: &Node<'_>, interval: Interval) -> Result<Alignment, Problem> {
    if !node.word(&[("calendar", false), ("rolling", true)])? {
        return Ok(Alignment::Calendar);
    }
    let interval_ms = match interval {
        Interval::Minute => MINUTE_MS,
        Interval::Hour => HOUR_MS,
        Interval::Day => DAY_MS,
        Interval::Week => WEEK_MS,
        Interval::Month => 30 * DAY_MS,
        Interval::Quarter | Interval::Year | Interval::Total => {
            let problem =
                node.problem("a rolling period is a minute, an hour, a day, a week or a month of 30 days");
            return Err(problem.hint("ask for months, and three or twelve times as many periods"));
        }
    };
    Ok(Alignment::Rolling { interval_ms })
}

fn parse_measure(node: &Node<'_>) -> Result<ReturnMeasure, Problem> {
    const KNOWN: &str = "known measures: \"users\", {\"sum\": \"property\"}, {\"average\": \"property\"}";
    let Json::Object(_) = node.json() else {
        return match node.word(&[("users", ())]) {
            Ok(()) => Ok(ReturnMeasure::Users),
            Err(problem) if problem.hint.is_none() => Err(problem.hint(KNOWN)),
            Err(problem) => Err(problem),
        };
    };
    let mut fields = node.object()?;
    let (sum, average) = (fields.optional("sum"), fields.optional("average"));
    let measure = match (&sum, &average) {
        (Some(property), None) => ReturnMeasure::Sum(parse_property(property)?),
        (None, Some(property)) => ReturnMeasure::Average(parse_property(property)?),
        _ => return Err(node.problem("this is not one measure").hint(KNOWN)),
    };
    fields.finish()?;
    Ok(measure)
}

#[cfg(test)]
mod tests {
    use super::super::{Json, QueryKind, QueryRequest};
    use super::*;

    fn parse(rest: &str) -> Result<RetentionQuery, Problem> {
        let body = format!(r#"{{"kind": "retention", {rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::Retention(query) = request.kind else { panic!("a retention") };
        Ok(query)
    }

    #[test]
    fn any_event_counts_as_back_unless_said() {
        let query = parse(r#""birth": "signup", "periods": 30"#).unwrap();
        assert!(query.returns.is_every_event());
        assert_eq!(query.cohorts, CohortRule::FirstTime);
        assert_eq!(query.interval, Interval::Day);
        assert_eq!(parse(r#""birth": "a", "return": "b", "periods": 1"#).unwrap().returns.label, "b");
    }

    #[test]
    fn what_goes_with_users_only_is_refused_with_a_measure() {
        let sum = r#""birth": "a", "periods": 1, "measure": {"sum": "x"}"#;
        let path = |rest: &str| parse(&format!("{sum}, {rest}")).unwrap_err().path.unwrap_or_default();
        assert_eq!(parse(sum).unwrap().measure, ReturnMeasure::Sum("x".to_owned()));
        assert_eq!(path(r#""at_least": 2"#), "/at_least");
        assert_eq!(path(r#""mode": "streak""#), "/mode");
    }

    #[test]
    fn errors_name_the_place() {
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#""birth": "a""#), "");
        assert_eq!(path(r#""birth": "a", "periods": -1"#), "/periods");
        assert_eq!(path(r#""birth": {}, "periods": 1"#), "/birth");
        assert_eq!(path(r#""birth": "a", "return": [], "periods": 1"#), "/return");
        assert_eq!(path(r#""birth": "a", "periods": 1, "cohorts": "first_ever""#), "/cohorts");
        assert_eq!(path(r#""birth": "a", "periods": 1, "mode": "after""#), "/mode");
        assert_eq!(path(r#""birth": "a", "mode": {"brackets": []}"#), "/mode/brackets");
        assert_eq!(path(r#""birth": "a", "mode": {"brackets": [1, 0]}"#), "/mode/brackets/1");
        assert_eq!(path(r#""birth": "a", "mode": {"brackets": [9000, 9000]}"#), "/mode/brackets");
        assert_eq!(path(r#""birth": "a", "periods": 1, "mode": {"brackets": [1]}"#), "/periods");
        assert_eq!(path(r#""birth": "a", "periods": 1, "alignment": "exact""#), "/alignment");
        assert_eq!(
            path(r#""birth": "a", "periods": 1, "interval": "year", "alignment": "rolling""#),
            "/alignment"
        );
        assert_eq!(path(r#""birth": "a", "periods": 1, "at_least": 0"#), "/at_least");
        assert_eq!(path(r#""birth": "a", "periods": 1, "measure": {"avg": "x"}"#), "/measure");
        assert_eq!(path(r#""birth": "a", "periods": 1, "returns": "b""#), "/returns");
    }
}
