//! The queries `activation` and `conversion`: who reached a milestone after the sign-up, and how soon.

use super::funnel::parse_duration;
use super::{Breakdown, Fields, GrowthModel, Interval, Problem};
use crate::model::DurationMs;

/// Of those who signed up, who met the definition of activation.
#[derive(Clone, Debug)]
pub struct ActivationQuery {
    /// Of the growth model what the query says itself.
    pub parts: GrowthModel,
    /// Of the sign-ups.
    pub interval: Interval,
    /// Whether one curve of the share activated by each day is told.
    pub is_curve: bool,
    pub breakdowns: Vec<Breakdown>,
}

/// Of those who signed up, who paid.
#[derive(Clone, Debug)]
pub struct ConversionQuery {
    pub parts: GrowthModel,
    pub interval: Interval,
    /// The last moment that counts, from the sign-up; without it, any later moment does.
    pub within: Option<DurationMs>,
    pub breakdowns: Vec<Breakdown>,
}

impl ActivationQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<ActivationQuery, Problem> {
        Ok(ActivationQuery {
            parts: GrowthModel::parse_parts(fields)?,
            interval: Interval::parse(fields)?,
            is_curve: fields.optional("curve").map_or(Ok(false), |flag| flag.bool())?,
            breakdowns: Breakdown::parse_of_signups(fields)?,
        })
    }
}

impl ConversionQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<ConversionQuery, Problem> {
        Ok(ConversionQuery {
            parts: GrowthModel::parse_parts(fields)?,
            interval: Interval::parse(fields)?,
            within: fields.optional("within").map(|within| parse_duration(&within)).transpose()?,
            breakdowns: Breakdown::parse_of_signups(fields)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Json, QueryKind, QueryRequest};
    use super::*;

    fn parse(body: &str) -> Result<QueryKind, Problem> {
        QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap()).map(|request| request.kind)
    }

    #[test]
    fn parts_may_be_left_to_the_model() {
        let QueryKind::Activation(query) = parse(r#"{"kind": "activation", "curve": true}"#).unwrap() else {
            panic!("an activation")
        };
        assert!(query.is_curve);
        assert!(query.parts.signup().is_err());
        let body = r#"{"kind": "conversion", "paid": "pay", "within": "30d",
            "breakdown": {"cohorts": {"invited": {"did": "invite"}}, "within": "7d"}}"#;
        let QueryKind::Conversion(query) = parse(body).unwrap() else { panic!("a conversion") };
        assert_eq!(query.parts.paid().unwrap().label, "pay");
        assert_eq!(query.within, DurationMs::parse("30d"));
        assert_eq!(query.breakdowns[0].within, DurationMs::parse("7d"));
    }

    #[test]
    fn errors_name_the_place() {
        let path = |body: &str| parse(body).unwrap_err().path.unwrap_or_default();
        assert_eq!(
            path(r#"{"kind": "activation", "activate": {"event": "a", "within": 7}}"#),
            "/activate/within"
        );
        assert_eq!(path(r#"{"kind": "activation", "within": "7d"}"#), "/within");
        assert_eq!(path(r#"{"kind": "activation", "curve": "yes"}"#), "/curve");
        assert_eq!(path(r#"{"kind": "conversion", "within": "1mo"}"#), "/within");
        assert_eq!(
            path(r#"{"kind": "conversion", "breakdown": {"property": "p", "within": "7d"}}"#),
            "/breakdown/within"
        );
        assert_eq!(
            path(
                r#"{"kind": "segmentation", "series": [{"event": "a"}],
                    "breakdown": {"cohorts": {"x": {"did": "a"}}, "within": "7d"}}"#
            ),
            "/breakdown/within"
        );
    }
}
