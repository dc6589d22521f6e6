//! The query `limits`: who is near an allowance or over it, and who upgraded after reaching it.

use super::lifecycle::parse_lasting;
use super::{Breakdown, Fields, GrowthModel, Interval, Problem};
use crate::model::Number;

#[derive(Clone, Debug)]
pub struct UsageLimitsQuery {
    /// The parts that the query has itself: of them limit and paid matter.
    pub model: GrowthModel,
    /// Width of the rows of an outcome.
    pub interval: Interval,
    pub told: UsageLimitsTold,
    /// By what the counted are, never by what an event carries.
    pub breakdowns: Vec<Breakdown>,
}

/// What the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageLimitsTold {
    /// Each user or account that has an allowance, as it stands. From the share `near` on of the allowance, above 0 and
    /// at most 1, it is near.
    Standing { near: Number },
    /// Intervals: who reached the allowance in them, and who paid after that.
    Outcome,
}

impl UsageLimitsQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<UsageLimitsQuery, Problem> {
        let model = GrowthModel::parse_parts(fields)?;
        let interval = Interval::parse(fields)?;
        let is_outcome = fields.optional("outcome").map_or(Ok(false), |outcome| outcome.bool())?;
        let near = fields.optional("near");
        let told = match (is_outcome, near) {
            (true, Some(misplaced)) => {
                let problem = misplaced.problem("who is near an allowance has not reached it");
                return Err(problem.hint("leave out \"near\" or \"outcome\""));
            }
            (true, None) => UsageLimitsTold::Outcome,
            (false, None) => UsageLimitsTold::Standing { near: near_default() },
            (false, Some(node)) => {
                let near = node.number()?;
                if near <= Number::ZERO || near > Number::from(1) {
                    return Err(node.problem(format!("expected a share above 0 and at most 1, found {near}")));
                }
                UsageLimitsTold::Standing { near }
            }
        };
        Ok(UsageLimitsQuery { model, interval, told, breakdowns: parse_lasting(fields)? })
    }
}

/// Four fifths of the allowance.
fn near_default() -> Number {
    Number::new(8, -1).expect("one digit")
}

#[cfg(test)]
mod tests {
    use super::super::{Json, QueryKind, QueryRequest};
    use super::*;

    fn parse(rest: &str) -> Result<UsageLimitsTold, Problem> {
        let body = format!(r#"{{"kind": "limits"{rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::UsageLimits(query) = request.kind else { panic!("limits") };
        Ok(query.told)
    }

    #[test]
    fn near_is_a_share() {
        let near = |text: &str| UsageLimitsTold::Standing { near: Number::parse(text).unwrap() };
        assert_eq!(parse("").unwrap(), near("0.8"));
        assert_eq!(parse(r#", "near": 0.95"#).unwrap(), near("0.95"));
        assert_eq!(parse(r#", "outcome": true"#).unwrap(), UsageLimitsTold::Outcome);
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        for wrong in ["0", "1.01", "-0.5", "\"80%\""] {
            assert_eq!(path(&format!(r#", "near": {wrong}"#)), "/near", "{wrong}");
        }
        assert_eq!(path(r#", "near": 0.9, "outcome": true"#), "/near");
        assert_eq!(path(r#", "breakdown": {"property": "plan"}"#), "/breakdown");
    }
}
