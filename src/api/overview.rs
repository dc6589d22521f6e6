//! The query `overview`: acquisition, activation, retention, referral and revenue, interval by interval.

use super::lifecycle::parse_lasting;
use super::{Breakdown, Fields, GrowthModel, Interval, Problem};

#[derive(Clone, Debug)]
pub struct OverviewQuery {
    /// The parts that the query has itself.
    pub model: GrowthModel,
    /// Never [`Interval::Total`].
    pub interval: Interval,
    /// Tells who moved from which state to which, instead of a row of figures.
    pub transitions: bool,
    /// By what users or their accounts are, never by what an event carries.
    pub breakdowns: Vec<Breakdown>,
}

impl OverviewQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<OverviewQuery, Problem> {
        Ok(OverviewQuery {
            model: GrowthModel::parse_parts(fields)?,
            interval: Interval::parse_repeated(fields)?,
            transitions: fields.optional("transitions").map_or(Ok(false), |flag| flag.bool())?,
            breakdowns: parse_lasting(fields)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Json, QueryRequest};

    #[test]
    fn one_bucket_has_no_interval_before_it() {
        let path = |rest: &str| {
            let body = format!(r#"{{"kind": "overview"{rest}}}"#);
            QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap()).err().and_then(|problem| problem.path)
        };
        assert_eq!(path(r#", "interval": "week", "transitions": true"#), None);
        assert_eq!(path(r#", "interval": "total""#).as_deref(), Some("/interval"));
        assert_eq!(path(r#", "transitions": "yes""#).as_deref(), Some("/transitions"));
        assert_eq!(path(r#", "breakdown": {"property": "plan"}"#).as_deref(), Some("/breakdown"));
    }
}
