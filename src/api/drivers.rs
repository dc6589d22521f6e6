//! The query `drivers`: which early behaviour goes with an outcome.

use super::funnel::parse_duration;
use super::{Breakdown, CohortExpr, Fields, GrowthModel, Interval, Node, Problem, Selector};
use crate::limits::{DRIVER_CANDIDATE_COUNT_MAX, DRIVER_THRESHOLD_COUNT_MAX};
use crate::model::{DurationMs, WEEK_MS};

#[derive(Clone, Debug)]
pub struct DriversQuery {
    /// Of the growth model what the query says itself: without `birth`, the sign-up is the birth.
    pub parts: GrowthModel,
    /// What starts the clock.
    pub birth: Option<Selector>,
    /// How long after the birth behaviour counts.
    pub window: DurationMs,
    pub outcome: DriverOutcome,
    /// Without them, each event that the store has.
    pub candidates: Option<Vec<Selector>>,
    /// Ascending, without repeats, at least 1 each.
    pub thresholds: Vec<u64>,
    /// Of the births, if they are told apart.
    pub interval: Option<Interval>,
    pub breakdowns: Vec<Breakdown>,
}

/// What behaviour may go with.
#[derive(Clone, Debug)]
pub enum DriverOutcome {
    /// To belong to it.
    Cohort(CohortExpr),
    /// To have at least so many events from `after` to before `before`, counted from the birth; or if `is_absence`, to
    /// have fewer.
    Did { selector: Selector, at_least: u64, after: DurationMs, before: DurationMs, is_absence: bool },
}

const WINDOW_DEFAULT: DurationMs = DurationMs::from_ms(WEEK_MS);
const THRESHOLDS_DEFAULT: [u64; 5] = [1, 2, 3, 5, 10];

impl DriversQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<DriversQuery, Problem> {
        let parts = GrowthModel::parse_parts(fields)?;
        let birth = fields.optional("birth").map(|birth| Selector::parse(&birth)).transpose()?;
        let window =
            fields.optional("window").map_or(Ok(WINDOW_DEFAULT), |window| parse_duration(&window))?;
        let outcome = parse_outcome(&fields.required("outcome")?, window)?;
        let candidates = fields.optional("candidates").map(|list| parse_candidates(&list)).transpose()?;
        let thresholds = fields
            .optional("thresholds")
            .map_or(Ok(THRESHOLDS_DEFAULT.to_vec()), |list| parse_thresholds(&list))?;
        let interval = fields.optional("interval").map(|word| Interval::parse_word(&word)).transpose()?;
        let breakdowns = Breakdown::parse_of_signups(fields)?;
        Ok(DriversQuery { parts, birth, window, outcome, candidates, thresholds, interval, breakdowns })
    }
}

fn parse_outcome(node: &Node<'_>, window: DurationMs) -> Result<DriverOutcome, Problem> {
    let is_counted_from_birth = match node.object() {
        Ok(fields) => fields.has("after") || fields.has("before"),
        // The name of a stored cohort.
        Err(_) => false,
    };
    if !is_counted_from_birth {
        return CohortExpr::parse(node).map(DriverOutcome::Cohort);
    }
    let mut fields = node.object()?;
    let is_absence = fields.has("did_not");
    let selector = Selector::parse(&fields.required(if is_absence { "did_not" } else { "did" })?)?;
    let at_least = match is_absence {
        true => 1,
        false => fields.optional("at_least").map_or(Ok(1), |count| count.integer(1..=i64::MAX))? as u64,
    };
    let after_node = fields.optional("after");
    let after = after_node.as_ref().map_or(Ok(window), parse_duration)?;
    let before_node = fields.required("before")?;
    let before = parse_duration(&before_node)?;
    if before <= after {
        return Err(before_node.problem(format!("the outcome lies from {after} on, and not before {before}")));
    }
    if let Some(node) = after_node.filter(|_| after == DurationMs::from_ms(0)) {
        let problem = node.problem("no behaviour comes before an outcome that lies from the birth on");
        return Err(problem.hint("let the outcome begin later, for example when the window ends"));
    }
    fields.finish()?;
    Ok(DriverOutcome::Did { selector, at_least, after, before, is_absence })
}

fn parse_candidates(node: &Node<'_>) -> Result<Vec<Selector>, Problem> {
    let list = node.array()?;
    if list.is_empty() || list.len() > DRIVER_CANDIDATE_COUNT_MAX {
        let detail = format!("there are 1 to {DRIVER_CANDIDATE_COUNT_MAX} candidates");
        return Err(node.problem(detail).hint("leave \"candidates\" out to try each event that there is"));
    }
    let candidates = list.iter().map(Selector::parse).collect::<Result<Vec<_>, _>>()?;
    let mut labels: Vec<&str> = Vec::with_capacity(candidates.len());
    for (item, candidate) in list.iter().zip(&candidates) {
        if labels.contains(&candidate.label.as_str()) {
            let problem = item.problem(format!("there are two candidates named {:?}", candidate.label));
            return Err(problem.hint("give one of them another name with \"as\""));
        }
        labels.push(&candidate.label);
    }
    Ok(candidates)
}

fn parse_thresholds(node: &Node<'_>) -> Result<Vec<u64>, Problem> {
    let list = node.array()?;
    if list.is_empty() || list.len() > DRIVER_THRESHOLD_COUNT_MAX {
        return Err(node.problem(format!("there are 1 to {DRIVER_THRESHOLD_COUNT_MAX} thresholds")));
    }
    let thresholds = list.iter().map(|count| count.integer(1..=i64::MAX).map(|count| count as u64));
    let mut thresholds = thresholds.collect::<Result<Vec<_>, _>>()?;
    thresholds.sort_unstable();
    thresholds.dedup();
    Ok(thresholds)
}

#[cfg(test)]
mod tests {
    use super::super::{Json, QueryKind, QueryRequest};
    use super::*;

    fn parse(rest: &str) -> Result<DriversQuery, Problem> {
        let body = format!(r#"{{"kind": "drivers", {rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::Drivers(query) = request.kind else { panic!("drivers") };
        Ok(query)
    }

    #[test]
    fn what_is_not_said_is_a_week_and_the_usual_thresholds() {
        let query = parse(r#""outcome": {"did": "use", "before": "28d"}"#).unwrap();
        assert_eq!(query.thresholds, [1, 2, 3, 5, 10]);
        assert!(query.candidates.is_none() && query.birth.is_none());
        let DriverOutcome::Did { after, before, .. } = query.outcome else { panic!("counted from birth") };
        assert_eq!((after, Some(before)), (WINDOW_DEFAULT, DurationMs::parse("28d")));
    }

    #[test]
    fn an_outcome_is_a_cohort_unless_it_counts_from_the_birth() {
        let is_cohort = |outcome: &str| {
            let query = parse(&format!(r#""outcome": {outcome}"#)).unwrap();
            matches!(query.outcome, DriverOutcome::Cohort(_))
        };
        assert!(is_cohort(r#"{"did": "pay", "at_least": 2, "from": "-30d"}"#));
        assert!(is_cohort(r#""payers""#));
        assert!(!is_cohort(r#"{"did_not": "use", "after": "21d", "before": "28d"}"#));
    }

    #[test]
    fn errors_name_the_place() {
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        let outcome = r#""outcome": {"did": "use", "after": "7d", "before": "28d"}"#;
        assert_eq!(path(r#""birth": "a""#), "");
        assert_eq!(path(r#""outcome": {"did": "a", "after": "7d"}"#), "/outcome");
        assert_eq!(path(r#""outcome": {"did": "a", "after": "7d", "before": "7d"}"#), "/outcome/before");
        assert_eq!(path(r#""outcome": {"did": "a", "after": "0d", "before": "7d"}"#), "/outcome/after");
        assert_eq!(path(r#""outcome": {"did": "a", "before": "9d", "from": "-3d"}"#), "/outcome/from");
        assert_eq!(path(&format!(r#"{outcome}, "window": "week""#)), "/window");
        assert_eq!(path(&format!(r#"{outcome}, "candidates": []"#)), "/candidates");
        assert_eq!(path(&format!(r#"{outcome}, "candidates": ["a", "a"]"#)), "/candidates/1");
        assert_eq!(path(&format!(r#"{outcome}, "thresholds": [1, 0]"#)), "/thresholds/1");
        assert_eq!(path(&format!(r#"{outcome}, "treshold": [1]"#)), "/treshold");
    }
}
