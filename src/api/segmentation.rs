//! The query `segmentation`: how often, by how many, how much.

use super::filter::parse_property;
use super::{Breakdown, Fields, Formula, Interval, Json, Node, Problem, Selector, TimeExpr};
use crate::limits::{ROLLING_DAY_COUNT_MAX, SERIES_COUNT_MAX};
use crate::model::{DAY_MS, DurationMs, Entity};

#[derive(Clone, Debug)]
pub struct SegmentationQuery {
    /// Never empty.
    pub series: Vec<Series>,
    pub interval: Interval,
    /// Users are counted over this many calendar days, ending with the bucket. All series then measure users.
    pub rolling_days: Option<u32>,
    /// Each bucket tells all of the range up to its end.
    pub cumulative: bool,
    /// What is told instead of the series, and its name.
    pub formula: Option<(String, Formula)>,
    /// The same range so long before is told beside the asked one. Always [`TimeExpr::Back`].
    pub compare: Option<TimeExpr>,
    pub breakdowns: Vec<Breakdown>,
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Series {
    pub selector: Selector,
    pub measure: Measure,
    /// Its `as`, or its letter.
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    Events,
    /// Distinct users, or accounts where those are asked about.
    Users,
    /// Distinct accounts of the events of users.
    Accounts,
    /// Events for each distinct user.
    PerUser,
    /// Users whose first event ever lies in the bucket.
    FirstTimeUsers,
    /// The exact sum of a property, over the events where it is a number. So are all that follow.
    Sum(String),
    Average(String),
    Least(String),
    Greatest(String),
    /// The smallest value with at least that share of the values, in percent, at or below it.
    Percentile(u8, String),
}

impl SegmentationQuery {
    /// `entity` is who the query counts.
    pub(super) fn parse(fields: &mut Fields<'_>, entity: Entity) -> Result<SegmentationQuery, Problem> {
        let node = fields.required("series")?;
        let list = node.array()?;
        if list.is_empty() || list.len() > SERIES_COUNT_MAX {
            return Err(node.problem(format!("a query has 1 to {SERIES_COUNT_MAX} series")));
        }
        let series = list
            .iter()
            .zip('A'..)
            .map(|(item, letter)| Series::parse(item, letter, entity))
            .collect::<Result<Vec<_>, _>>()?;
        let interval = Interval::parse(fields)?;
        let rolling = fields.optional("rolling");
        let rolling_days = rolling.as_ref().map(|node| parse_rolling(node, &series)).transpose()?;
        let cumulative = fields.optional("cumulative");
        let is_cumulative = cumulative.as_ref().map_or(Ok(false), Node::bool)?;
        if let Some(node) = cumulative.filter(|_| is_cumulative && rolling.is_some()) {
            let problem = node.problem("a running total has no trailing window");
            return Err(problem.hint("ask for \"rolling\" or for \"cumulative\""));
        }
        let formula =
            fields.optional("formula").map(|node| Formula::parse(&node, series.len())).transpose()?;
        let name = fields.optional("as");
        if let Some(node) = name.as_ref().filter(|_| formula.is_none()) {
            let problem = node.problem("this names a formula, but there is none");
            return Err(problem.hint("give each series its own \"as\""));
        }
        let name = name.map_or(Ok("formula"), |name| name.string())?.to_owned();
        let compare = fields.optional("compare").map(|node| parse_compare(&node)).transpose()?;
        let breakdowns = Breakdown::parse_list(fields, false)?;
        let formula = formula.map(|formula| (name, formula));
        Ok(SegmentationQuery {
            series,
            interval,
            rolling_days,
            cumulative: is_cumulative,
            formula,
            compare,
            breakdowns,
        })
    }
}

impl Series {
    fn parse(node: &Node<'_>, letter: char, entity: Entity) -> Result<Series, Problem> {
        let mut fields = node.object()?;
        let selector = Selector::parse(&fields.required("event")?)?;
        let measure =
            fields.optional("measure").map_or(Ok(Measure::Events), |measure| Measure::parse(&measure))?;
        let measure = match measure {
            // An account's events carry no other account.
            Measure::Accounts if entity == Entity::Account => Measure::Users,
            measure => measure,
        };
        let name = match fields.optional("as") {
            Some(name) => name.string()?.to_owned(),
            None => letter.to_string(),
        };
        fields.finish()?;
        Ok(Series { selector, measure, name })
    }
}

/// The measures of events and users.
const WORDS: [(&str, &Measure); 5] = [
    ("events", &Measure::Events),
    ("users", &Measure::Users),
    ("accounts", &Measure::Accounts),
    ("per_user", &Measure::PerUser),
    ("first_time_users", &Measure::FirstTimeUsers),
];

/// A measure of the property of this name.
type OfProperty = fn(String) -> Measure;

/// The measures of a property.
const PROPERTY_WORDS: [(&str, OfProperty); 8] = [
    ("sum", Measure::Sum),
    ("avg", Measure::Average),
    ("min", Measure::Least),
    ("max", Measure::Greatest),
    ("median", |property| Measure::Percentile(50, property)),
    ("p90", |property| Measure::Percentile(90, property)),
    ("p95", |property| Measure::Percentile(95, property)),
    ("p99", |property| Measure::Percentile(99, property)),
];

const KNOWN_MEASURES: &str = "known measures: \"events\", \"users\", \"accounts\", \"per_user\", \
    \"first_time_users\", and of a property {\"sum\": \"property\"}, or avg, min, max, median, p90, p95, p99";

impl Measure {
    fn parse(node: &Node<'_>) -> Result<Measure, Problem> {
        let unknown = |problem: Problem| match problem.hint {
            Some(_) => problem,
            None => problem.hint(KNOWN_MEASURES),
        };
        let Json::Object(_) = node.json() else { return node.word(&WORDS).cloned().map_err(unknown) };
        let mut fields = node.object()?;
        let found = PROPERTY_WORDS
            .iter()
            .find_map(|(word, measure)| fields.optional(word).map(|property| (property, *measure)));
        let Some((property, measure)) = found else {
            return Err(node.problem("this is not a measure").hint(KNOWN_MEASURES));
        };
        let measure = measure(parse_property(&property)?);
        fields.finish()?;
        Ok(measure)
    }

    /// The property whose numbers it is about.
    pub fn property(&self) -> Option<&str> {
        match self {
            Measure::Events
            | Measure::Users
            | Measure::Accounts
            | Measure::PerUser
            | Measure::FirstTimeUsers => None,
            Measure::Sum(property)
            | Measure::Average(property)
            | Measure::Least(property)
            | Measure::Greatest(property)
            | Measure::Percentile(_, property) => Some(property),
        }
    }
}

/// A number of whole days.
fn parse_rolling(node: &Node<'_>, series: &[Series]) -> Result<u32, Problem> {
    let days = DurationMs::parse(node.string()?)
        .map(DurationMs::as_ms)
        .filter(|ms| *ms >= DAY_MS && *ms % DAY_MS == 0)
        .map(|ms| ms / DAY_MS)
        .filter(|days| *days <= ROLLING_DAY_COUNT_MAX)
        .ok_or_else(|| {
            node.problem(format!(
                "a rolling window is a number of whole days, at most {ROLLING_DAY_COUNT_MAX}"
            ))
            .hint("for example \"7d\" or \"4w\"")
        })?;
    if series.iter().any(|series| series.measure != Measure::Users) {
        let problem = node.problem("a rolling window counts users, but a series measures something else");
        return Err(problem.hint("give every series \"measure\": \"users\""));
    }
    Ok(days as u32)
}

/// How far back the range is shifted.
fn parse_compare(node: &Node<'_>) -> Result<TimeExpr, Problem> {
    const HINT: &str = "for example \"-1w\", \"-1mo\" or \"-1y\"";
    node.string()?;
    match TimeExpr::parse(node).map_err(|problem| problem.hint(HINT))? {
        back @ TimeExpr::Back { count: 1.., .. } => Ok(back),
        _ => Err(node.problem("a range is compared with the same one some time before").hint(HINT)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{QueryKind, QueryRequest};
    use super::*;

    fn parse(rest: &str) -> Result<SegmentationQuery, Problem> {
        let body = format!(r#"{{"kind": "segmentation", {rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::Segmentation(query) = request.kind else { panic!("a segmentation") };
        Ok(query)
    }

    #[test]
    fn series_are_named_by_letters_and_count_events_by_day() {
        let query =
            parse(r#""series": [{"event": "a"}, {"event": "b", "as": "bees"}, {"event": "*"}]"#).unwrap();
        let names: Vec<&str> = query.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["A", "bees", "C"]);
        assert_eq!(query.series[0].measure, Measure::Events);
        assert_eq!(query.interval, Interval::Day);
    }

    #[test]
    fn a_breakdown_is_one_property_or_up_to_three() {
        let query = parse(r#""series": [{"event": "a"}], "breakdown": {"property": "c"}"#).unwrap();
        assert_eq!(query.breakdowns[0].limit, 25);
        let two = r#"[{"property": "c", "on": "user", "limit": 3}, {"property": "d"}]"#;
        let query = parse(&format!(r#""series": [{{"event": "a"}}], "breakdown": {two}"#)).unwrap();
        assert_eq!(query.breakdowns.len(), 2);
        assert_eq!(Breakdown::column_name(0), "breakdown");
        assert_eq!(Breakdown::column_name(2), "breakdown_3");
    }

    #[test]
    fn errors_name_the_place() {
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#""series": []"#), "/series");
        assert_eq!(path(r#""series": [{"event": "a", "measure": "user"}]"#), "/series/0/measure");
        assert_eq!(path(r#""series": [{"event": "a", "measure": {"mean": "x"}}]"#), "/series/0/measure");
        assert_eq!(
            path(r#""series": [{"event": "a", "measure": {"sum": "x", "avg": "x"}}]"#),
            "/series/0/measure/avg"
        );
        assert_eq!(path(r#""series": [{"event": "a"}], "formula": "A / B""#), "/formula");
        assert_eq!(path(r#""series": [{"event": "a"}], "as": "x""#), "/as");
        assert_eq!(path(r#""series": [{"event": "a"}], "compare": "2024-01-01""#), "/compare");
        assert_eq!(path(r#""series": [{"event": "a"}], "compare": "-0d""#), "/compare");
        assert_eq!(
            path(r#""series": [{"event": "a", "measure": "users"}], "rolling": "7d", "cumulative": true"#),
            "/cumulative"
        );
        assert_eq!(
            path(r#""series": [{"event": "a", "measure": {"sum": "x", "y": 1}}]"#),
            "/series/0/measure/y"
        );
        assert_eq!(path(r#""series": [{"measure": "users"}]"#), "/series/0");
        assert_eq!(path(r#""series": [{"event": "a"}], "rolling": "7d""#), "/rolling");
        assert_eq!(path(r#""series": [{"event": "a", "measure": "users"}], "rolling": "36h""#), "/rolling");
        assert_eq!(path(r#""series": [{"event": "a"}], "breakdown": []"#), "/breakdown");
        assert_eq!(
            path(r#""series": [{"event": "a"}], "breakdown": {"property": "c", "limit": 0}"#),
            "/breakdown/limit"
        );
        assert_eq!(
            path(
                r#""series": [{"event": "a"}], "breakdown": [{"property": "c"}, {"property": "d", "by": 1}]"#
            ),
            "/breakdown/1/by"
        );
        let hint = parse(r#""series": [{"event": "a", "measure": "sessions"}]"#).unwrap_err().hint.unwrap();
        assert!(hint.contains("{\"sum\": \"property\"}"), "{hint}");
    }
}
