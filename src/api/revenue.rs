//! The query `revenue`: how recurring revenue moved, interval by interval.

use super::filter::parse_property;
use super::lifecycle::parse_lasting;
use super::{Breakdown, Fields, GrowthModel, Interval, Problem, TimeExpr};

#[derive(Clone, Debug)]
pub struct RevenueQuery {
    /// The parts that the query has itself: of them the subscription matters.
    pub model: GrowthModel,
    pub interval: Interval,
    /// The property of subscription events that names their currency, if it is said here.
    pub currency: Option<String>,
    /// Compares with so long before the end of each interval, instead of with its start. Always a
    /// [`TimeExpr::Back`].
    pub trailing: Option<TimeExpr>,
    /// By what entities are, never by what an event carries.
    pub breakdowns: Vec<Breakdown>,
}

impl RevenueQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<RevenueQuery, Problem> {
        Ok(RevenueQuery {
            model: GrowthModel::parse_parts(fields)?,
            interval: Interval::parse(fields)?,
            currency: fields.optional("currency").map(|name| parse_property(&name)).transpose()?,
            trailing: fields.optional("trailing").map(|span| TimeExpr::parse_span(&span)).transpose()?,
            breakdowns: parse_lasting(fields)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BackUnit, Json, QueryKind, QueryRequest};
    use super::*;

    fn parse(rest: &str) -> Result<RevenueQuery, Problem> {
        let body = format!(r#"{{"kind": "revenue"{rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::Revenue(query) = request.kind else { panic!("a revenue") };
        Ok(query)
    }

    #[test]
    fn a_trailing_span_is_one_of_the_calendar() {
        let trailing = |span: &str| parse(&format!(r#", "trailing": "{span}""#)).map(|query| query.trailing);
        assert_eq!(trailing("12mo").unwrap(), Some(TimeExpr::Back { count: 12, unit: BackUnit::Month }));
        assert_eq!(trailing("1y").unwrap(), Some(TimeExpr::Back { count: 1, unit: BackUnit::Year }));
        for wrong in ["-12mo", "0mo", "12 months", "now"] {
            assert_eq!(trailing(wrong).unwrap_err().path.as_deref(), Some("/trailing"), "{wrong}");
        }
    }

    #[test]
    fn only_what_lasts_splits() {
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#", "breakdown": {"property": "plan"}"#), "/breakdown");
        assert_eq!(path(r#", "currency": """#), "/currency");
        assert_eq!(path(r#", "intervall": "day""#), "/intervall");
    }
}
