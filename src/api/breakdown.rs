//! How a result is split by a property, or by cohorts.

use super::filter::{On, parse_on, parse_property};
use super::funnel::parse_duration;
use super::{CohortExpr, Fields, Json, Node, Problem};
use crate::limits::{
    BREAKDOWN_COHORT_COUNT_MAX, BREAKDOWN_LIMIT_DEFAULT, BREAKDOWN_LIMIT_MAX, BREAKDOWN_PROPERTY_COUNT_MAX,
    FUNNEL_STEP_COUNT_MAX,
};
use crate::model::DurationMs;

/// One thing to split by.
#[derive(Clone, Debug)]
pub struct Breakdown {
    pub source: BreakdownSource,
    /// Cohorts are of users.
    pub on: On,
    /// Values that get rows of their own; the rest are folded into `$other`. At least 1.
    pub limit: usize,
    /// Which event's value is a user's, where several events make up one outcome; `None` if it is not said.
    pub attribution: Option<Attribution>,
    /// Cohorts are judged on so much of each user's events from its sign-up on; on all of them without it.
    pub within: Option<DurationMs>,
}

/// What a breakdown may have beside its source, by the kind of query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    None,
    Attribution,
    /// Queries that count from a sign-up.
    Within,
}

/// Which event of an attempt at a funnel gives it its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    First,
    Last,
    /// The event of this step, counted from 1.
    Step(usize),
    /// Every event has the value.
    All,
}

impl Attribution {
    fn parse(node: &Node<'_>) -> Result<Attribution, Problem> {
        let Json::Object(_) = node.json() else {
            return node.word(&[
                ("first", Attribution::First),
                ("last", Attribution::Last),
                ("all", Attribution::All),
            ]);
        };
        let mut fields = node.object()?;
        let step = fields.required("step")?.integer(1..=FUNNEL_STEP_COUNT_MAX as i64)? as usize;
        fields.finish()?;
        Ok(Attribution::Step(step))
    }
}

/// Where the names of rows come from.
#[derive(Clone, Debug)]
pub enum BreakdownSource {
    /// The values of a property.
    Property(String),
    /// The names of cohorts, which are distinct. A user counts in the row of each cohort that has it.
    Cohorts(Vec<(String, CohortExpr)>),
}

impl Breakdown {
    fn parse(node: &Node<'_>, extra: Extra) -> Result<Breakdown, Problem> {
        let mut fields = node.object()?;
        let (source, on, limit) = if fields.has("cohorts") {
            let cohorts = parse_cohorts(&fields.required("cohorts")?)?;
            let count = cohorts.len();
            (BreakdownSource::Cohorts(cohorts), On::User, count)
        } else {
            let property = parse_property(&fields.required("property")?)?;
            let on = parse_on(&mut fields)?;
            let limit = match fields.optional("limit") {
                Some(limit) => limit.integer(1..=BREAKDOWN_LIMIT_MAX as i64)? as usize,
                None => BREAKDOWN_LIMIT_DEFAULT,
            };
            (BreakdownSource::Property(property), on, limit)
        };
        let attribution = match extra {
            Extra::Attribution => {
                fields.optional("attribution").map(|word| Attribution::parse(&word)).transpose()?
            }
            Extra::None | Extra::Within => None,
        };
        let within = match (extra, &source) {
            (Extra::Within, BreakdownSource::Cohorts(_)) => {
                fields.optional("within").map(|within| parse_duration(&within)).transpose()?
            }
            _ => None,
        };
        fields.finish()?;
        Ok(Breakdown { source, on, limit, attribution, within })
    }

    /// The properties of the field `breakdown`: none, one or a list. `has_attribution`: the field `attribution` may be
    /// there.
    pub(super) fn parse_list(
        fields: &mut Fields<'_>,
        has_attribution: bool,
    ) -> Result<Vec<Breakdown>, Problem> {
        Breakdown::parse_all(fields, if has_attribution { Extra::Attribution } else { Extra::None })
    }

    /// The same for queries that count from a sign-up: cohorts may be judged within a time from it.
    pub(super) fn parse_of_signups(fields: &mut Fields<'_>) -> Result<Vec<Breakdown>, Problem> {
        Breakdown::parse_all(fields, Extra::Within)
    }

    fn parse_all(fields: &mut Fields<'_>, extra: Extra) -> Result<Vec<Breakdown>, Problem> {
        let Some(node) = fields.optional("breakdown") else { return Ok(Vec::new()) };
        let Json::Array(_) = node.json() else { return Ok(vec![Breakdown::parse(&node, extra)?]) };
        let list = node.array()?;
        if list.is_empty() || list.len() > BREAKDOWN_PROPERTY_COUNT_MAX {
            return Err(
                node.problem(format!("a breakdown is by 1 to {BREAKDOWN_PROPERTY_COUNT_MAX} properties"))
            );
        }
        list.iter().map(|item| Breakdown::parse(item, extra)).collect()
    }

    /// By a property of events, whatever values it has.
    pub fn by_all_values(property: &str) -> Breakdown {
        let source = BreakdownSource::Property(property.to_owned());
        Breakdown { source, on: On::Event, limit: usize::MAX, attribution: None, within: None }
    }

    /// The name of the column of the breakdown with this index.
    pub fn column_name(index: usize) -> String {
        if index == 0 { "breakdown".to_owned() } else { format!("breakdown_{}", index + 1) }
    }
}

/// An object of cohorts by name.
fn parse_cohorts(node: &Node<'_>) -> Result<Vec<(String, CohortExpr)>, Problem> {
    let cohorts = node.entries()?;
    if cohorts.is_empty() || cohorts.len() > BREAKDOWN_COHORT_COUNT_MAX {
        return Err(node.problem(format!("a breakdown is by 1 to {BREAKDOWN_COHORT_COUNT_MAX} cohorts")));
    }
    let parse = |(name, node): (&str, Node<'_>)| Ok((name.to_owned(), CohortExpr::parse(&node)?));
    cohorts.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Vec<Breakdown>, Problem> {
        let json = Json::parse(format!("{{\"breakdown\": {json}}}").as_bytes()).unwrap();
        Breakdown::parse_list(&mut json.root().object().unwrap(), false)
    }

    #[test]
    fn cohorts_are_split_by_under_their_names() {
        let breakdowns = parse(r#"[{"cohorts": {"b": {"did": "x"}, "a": "stored"}}, {"property": "p"}]"#);
        let breakdowns = breakdowns.unwrap();
        let BreakdownSource::Cohorts(cohorts) = &breakdowns[0].source else { panic!("cohorts") };
        assert_eq!(cohorts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert!(matches!(&breakdowns[1].source, BreakdownSource::Property(name) if name == "p"));
    }

    #[test]
    fn errors_name_the_place() {
        let path = |json: &str| parse(json).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#"{"cohorts": {}}"#), "/breakdown/cohorts");
        assert_eq!(path(r#"{"cohorts": {"a/b": {"dit": "x"}}}"#), "/breakdown/cohorts/a~1b");
        assert_eq!(path(r#"{"cohorts": {"a": {"did": "x"}}, "limit": 3}"#), "/breakdown/limit");
        assert_eq!(path(r#"{"cohorts": {"a": {"did": "x"}}, "property": "p"}"#), "/breakdown/property");
    }
}
