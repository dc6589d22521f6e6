//! The query `segmentation`: how often, by how many, how much.

use super::filter::parse_property;
use super::{Breakdown, Fields, Interval, Json, Node, Problem, Selector};
use crate::limits::{ROLLING_DAY_COUNT_MAX, SERIES_COUNT_MAX};
use crate::model::{DAY_MS, DurationMs};

#[derive(Clone, Debug)]
pub struct SegmentationQuery {
    /// Never empty.
    pub series: Vec<Series>,
    pub interval: Interval,
    /// Users are counted over this many calendar days, ending with the bucket. All series then measure users.
    pub rolling_days: Option<u32>,
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
    /// Distinct users.
    Users,
    /// The exact sum of a property, over the events where it is a number.
    Sum(String),
}

impl SegmentationQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<SegmentationQuery, Problem> {
        let node = fields.required("series")?;
        let list = node.array()?;
        if list.is_empty() || list.len() > SERIES_COUNT_MAX {
            return Err(node.problem(format!("a query has 1 to {SERIES_COUNT_MAX} series")));
        }
        let series = list
            .iter()
            .zip('A'..)
            .map(|(item, letter)| Series::parse(item, letter))
            .collect::<Result<Vec<_>, _>>()?;
        let interval = Interval::parse(fields)?;
        let rolling_days =
            fields.optional("rolling").map(|node| parse_rolling(&node, &series)).transpose()?;
        let breakdowns = Breakdown::parse_list(fields, false)?;
        Ok(SegmentationQuery { series, interval, rolling_days, breakdowns })
    }
}

impl Series {
    fn parse(node: &Node<'_>, letter: char) -> Result<Series, Problem> {
        let mut fields = node.object()?;
        let selector = Selector::parse(&fields.required("event")?)?;
        let measure =
            fields.optional("measure").map_or(Ok(Measure::Events), |measure| Measure::parse(&measure))?;
        let name = match fields.optional("as") {
            Some(name) => name.string()?.to_owned(),
            None => letter.to_string(),
        };
        fields.finish()?;
        Ok(Series { selector, measure, name })
    }
}

impl Measure {
    fn parse(node: &Node<'_>) -> Result<Measure, Problem> {
        const KNOWN: &str = "known measures: \"events\", \"users\", {\"sum\": \"property\"}";
        let unknown = |problem: Problem| match problem.hint {
            Some(_) => problem,
            None => problem.hint(KNOWN),
        };
        let Json::Object(_) = node.json() else {
            #[derive(Clone, Copy)]
            enum Word {
                Events,
                Users,
            }
            return match node.word(&[("events", Word::Events), ("users", Word::Users)]).map_err(unknown)? {
                Word::Events => Ok(Measure::Events),
                Word::Users => Ok(Measure::Users),
            };
        };
        let mut fields = node.object()?;
        let Some(property) = fields.optional("sum") else {
            return Err(node.problem("this is not a measure").hint(KNOWN));
        };
        let measure = Measure::Sum(parse_property(&property)?);
        fields.finish()?;
        Ok(measure)
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
        assert_eq!(path(r#""series": [{"event": "a", "measure": {"avg": "x"}}]"#), "/series/0/measure");
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
        let hint = parse(r#""series": [{"event": "a", "measure": "per_user"}]"#).unwrap_err().hint.unwrap();
        assert!(hint.contains("{\"sum\": \"property\"}"), "{hint}");
    }
}
