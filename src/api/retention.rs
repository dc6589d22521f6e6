//! The query `retention`: who came back, by when they began.

use super::{Breakdown, Fields, Interval, Problem, Selector};
use crate::limits::RETENTION_PERIOD_COUNT_MAX;

#[derive(Clone, Debug)]
pub struct RetentionQuery {
    /// What starts the clock.
    pub birth: Selector,
    /// What counts as back.
    pub returns: Selector,
    /// Never [`Interval::Total`].
    pub interval: Interval,
    /// Periods after the birth's own, which is period 0.
    pub period_count: u32,
    pub cohorts: CohortRule,
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

impl RetentionQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<RetentionQuery, Problem> {
        let birth = Selector::parse(&fields.required("birth")?)?;
        let returns =
            fields.optional("return").map_or(Ok(Selector::any()), |selector| Selector::parse(&selector))?;
        let interval = Interval::parse_repeated(fields)?;
        let period_count = fields.required("periods")?.integer(0..=RETENTION_PERIOD_COUNT_MAX)? as u32;
        let cohorts = match fields.optional("cohorts") {
            Some(rule) => rule.word(&[
                ("first_time", CohortRule::FirstTime),
                ("first_in_range", CohortRule::FirstInRange),
                ("recurring", CohortRule::Recurring),
            ])?,
            None => CohortRule::FirstTime,
        };
        if let Some(alignment) = fields.optional("alignment") {
            alignment.word(&[("calendar", ())])?;
        }
        if let Some(mode) = fields.optional("mode") {
            mode.word(&[("on", ())])?;
        }
        if let Some(measure) = fields.optional("measure") {
            measure.word(&[("users", ())])?;
        }
        let breakdowns = Breakdown::parse_list(fields, false)?;
        Ok(RetentionQuery { birth, returns, interval, period_count, cohorts, breakdowns })
    }
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
    fn errors_name_the_place() {
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#""birth": "a""#), "");
        assert_eq!(path(r#""birth": "a", "periods": -1"#), "/periods");
        assert_eq!(path(r#""birth": {}, "periods": 1"#), "/birth");
        assert_eq!(path(r#""birth": "a", "return": [], "periods": 1"#), "/return");
        assert_eq!(path(r#""birth": "a", "periods": 1, "cohorts": "first_ever""#), "/cohorts");
        assert_eq!(path(r#""birth": "a", "periods": 1, "mode": "streak""#), "/mode");
        assert_eq!(path(r#""birth": "a", "periods": 1, "alignment": "rolling""#), "/alignment");
        assert_eq!(path(r#""birth": "a", "periods": 1, "returns": "b""#), "/returns");
    }
}
