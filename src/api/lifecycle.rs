//! The query `lifecycle`: who is new, still there, back again or gone, interval by interval.

use super::{Breakdown, Fields, Interval, On, Problem, Selector};

#[derive(Clone, Debug)]
pub struct LifecycleQuery {
    /// What makes a user active.
    pub selector: Selector,
    /// Never [`Interval::Total`].
    pub interval: Interval,
    /// By what users or their accounts are, never by what an event carries.
    pub breakdowns: Vec<Breakdown>,
}

impl LifecycleQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<LifecycleQuery, Problem> {
        let selector =
            fields.optional("event").map_or(Ok(Selector::any()), |selector| Selector::parse(&selector))?;
        let interval = Interval::parse_repeated(fields)?;
        Ok(LifecycleQuery { selector, interval, breakdowns: parse_lasting(fields)? })
    }
}

/// The properties of the field `breakdown`, none of which may be an event's: where users are compared over time,
/// each event of a user would put it in another row.
pub(super) fn parse_lasting(fields: &mut Fields<'_>) -> Result<Vec<Breakdown>, Problem> {
    let breakdowns = Breakdown::parse_list(fields, false)?;
    if breakdowns.iter().any(|breakdown| breakdown.on == On::Event) {
        let problem = fields.node().problem("this query is not split by properties of events");
        let path = format!("{}/breakdown", fields.node().path());
        return Err(problem.at(path).hint("split by a property of the user or account: \"on\": \"user\""));
    }
    Ok(breakdowns)
}

#[cfg(test)]
mod tests {
    use super::super::{Json, QueryKind, QueryRequest};
    use super::*;

    fn parse(rest: &str) -> Result<LifecycleQuery, Problem> {
        let body = format!(r#"{{"kind": "lifecycle"{rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::Lifecycle(query) = request.kind else { panic!("a lifecycle") };
        Ok(query)
    }

    #[test]
    fn any_event_makes_active_and_days_are_told_unless_said() {
        let query = parse("").unwrap();
        assert!(query.selector.is_every_event());
        assert_eq!(query.interval, Interval::Day);
        assert_eq!(parse(r#", "event": "use", "interval": "week""#).unwrap().selector.label, "use");
    }

    #[test]
    fn only_what_lasts_splits() {
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#", "breakdown": {"property": "plan"}"#), "/breakdown");
        assert_eq!(
            parse(r#", "breakdown": {"property": "plan", "on": "user"}"#).unwrap().breakdowns.len(),
            1
        );
        assert_eq!(path(r#", "interval": "total""#), "/interval");
        assert_eq!(path(r#", "events": "a""#), "/events");
    }
}
