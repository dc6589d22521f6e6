//! Cohorts, sets of users by what they did and are, and the query `cohort`.

use super::request::parse_range;
use super::{Common, Fields, Filter, Json, Node, Problem, QueryRequest, Scope, Selector, TimeRange, nearest};
use crate::limits::{COHORT_USER_COUNT_MAX, FILTER_DEPTH_MAX, FUNNEL_STEP_COUNT_MAX, RESULT_ROW_COUNT_MAX};
use crate::model::Entity;

#[derive(Clone, Debug)]
pub struct CohortQuery {
    pub cohort: CohortExpr,
    pub select: CohortSelect,
}

/// What is told of a cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CohortSelect {
    /// How many users it has.
    Count,
    /// Its users in ascending order: at most `limit` of them, those after an id.
    Members { limit: Option<usize>, after: Option<String> },
}

/// A set of users. Events are looked for in all history unless a range is given.
#[derive(Clone, Debug)]
pub enum CohortExpr {
    /// Users with `at_least` to `at_most` such events.
    Did {
        selector: Selector,
        at_least: u64,
        at_most: Option<u64>,
        range: TimeRange,
    },
    /// Users with no such event.
    DidNot {
        selector: Selector,
        range: TimeRange,
    },
    /// Users whose first such event ever lies in the range.
    FirstDid {
        selector: Selector,
        range: TimeRange,
    },
    /// Users whose profile satisfies the filter.
    Profile(Filter),
    /// Users by id. Ids that do not exist are nobody.
    Users(Vec<String>),
    All(Vec<CohortExpr>),
    Any(Vec<CohortExpr>),
    /// All users that have an event or a profile, without these.
    Not(Box<CohortExpr>),
    /// A stored cohort, and the place that names it.
    Stored {
        name: String,
        path: String,
    },
    /// Those whom a cell of a result counts. A sequence is one: the last step of a funnel.
    Result(Box<ResultCell>),
}

/// A cell of the result of a query inside a cohort.
#[derive(Clone, Debug)]
pub struct ResultCell {
    pub request: QueryRequest,
    /// Whether the query has no time zone of its own, and takes that of the query around it.
    pub inherits_zone: bool,
    /// The same for the first day of weeks.
    pub inherits_week_start: bool,
    /// The object of `result`, whose fields beside `kind` and `query` name the cell.
    pub fields: Json,
    /// The place of that object.
    pub path: String,
}

const FORMS: [&str; 11] =
    ["did", "did_not", "first_did", "profile", "users", "all", "any", "not", "cohort", "result", "sequence"];

impl CohortQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<CohortQuery, Problem> {
        #[derive(Clone, Copy)]
        enum Word {
            Count,
            Members,
        }
        let cohort = CohortExpr::parse(&fields.required("cohort")?)?;
        let word = match fields.optional("select") {
            Some(word) => word.word(&[("count", Word::Count), ("members", Word::Members)])?,
            None => Word::Count,
        };
        let limit = fields.optional("limit");
        let after = fields.optional("after");
        let select = match word {
            Word::Count => {
                if let Some(misplaced) = limit.or(after) {
                    let problem = misplaced.problem("a count is one row");
                    return Err(problem.hint("\"limit\" and \"after\" go with \"select\": \"members\""));
                }
                CohortSelect::Count
            }
            Word::Members => CohortSelect::Members {
                limit: limit
                    .map(|limit| limit.integer(1..=RESULT_ROW_COUNT_MAX as i64))
                    .transpose()?
                    .map(|limit| limit as usize),
                after: after.map(|after| after.string().map(str::to_owned)).transpose()?,
            },
        };
        Ok(CohortQuery { cohort, select })
    }
}

impl ResultCell {
    /// The fields that name the cell are left to the kind of result, which alone knows its columns.
    fn parse(node: &Node<'_>) -> Result<ResultCell, Problem> {
        let mut fields = node.object()?;
        let kind = fields.required("kind")?;
        let query = fields.required("query")?;
        let mut inner = query.object()?;
        let request = QueryRequest::parse_kind(&kind, &mut inner)?;
        let cell = ResultCell {
            inherits_zone: !inner.has("timezone"),
            inherits_week_start: !inner.has("week_start"),
            request,
            fields: node.json().clone(),
            path: node.path().to_owned(),
        };
        inner.finish()?;
        Ok(cell)
    }

    /// Reads `sequence` and the fields beside it: who gets through a funnel of these steps.
    fn parse_sequence(fields: &mut Fields<'_>) -> Result<ResultCell, Problem> {
        let steps = fields.required("sequence")?;
        let step_count = steps.array()?.len();
        if !(2..=FUNNEL_STEP_COUNT_MAX).contains(&step_count) {
            let detail = format!("a sequence has 2 to {FUNNEL_STEP_COUNT_MAX} steps, found {step_count}");
            return Err(steps.problem(detail));
        }
        let mut funnel = vec![("steps".to_owned(), steps.json().clone())];
        for name in ["window", "from", "to"] {
            funnel.extend(fields.optional(name).map(|node| (name.to_owned(), node.json().clone())));
        }
        let path = fields.node().path().to_owned();
        let funnel = Json::Object(funnel);
        let node = funnel.at(path.clone());
        let kind = Json::String("funnel".to_owned());
        let request = QueryRequest::parse_kind(&kind.root(), &mut node.object()?).map_err(|problem| {
            let steps_path = format!("{path}/steps");
            match problem.path.as_deref().and_then(|place| place.strip_prefix(&steps_path)) {
                Some(rest) => Problem { path: Some(format!("{path}/sequence{rest}")), ..problem },
                None => problem,
            }
        })?;
        let last_step = Json::Number((step_count as i64).into());
        let fields = Json::Object(vec![("step".to_owned(), last_step)]);
        Ok(ResultCell { request, inherits_zone: true, inherits_week_start: true, fields, path })
    }

    /// What the query has in common with all, beside the query around it, which counts `entity`.
    pub fn common(&self, outer: &Scope, entity: Entity) -> Common {
        let mut common = self.request.common.clone();
        if self.inherits_zone {
            common.zone = outer.zone.clone();
        }
        if self.inherits_week_start {
            common.week_start = outer.week_start;
        }
        if !common.has_entity {
            common.entity = entity;
        }
        common
    }
}

impl CohortExpr {
    pub fn parse(node: &Node<'_>) -> Result<CohortExpr, Problem> {
        parse_cohort(node, 1)
    }
}

fn parse_cohort(node: &Node<'_>, depth: usize) -> Result<CohortExpr, Problem> {
    if depth > FILTER_DEPTH_MAX {
        return Err(node.problem(format!("cohorts are nested more than {FILTER_DEPTH_MAX} deep")));
    }
    let inner = |node: &Node<'_>| parse_cohort(node, depth + 1);
    let inner_list = |node: Node<'_>| node.array()?.iter().map(inner).collect::<Result<Vec<_>, _>>();
    if let Json::String(name) = node.json() {
        return Ok(CohortExpr::Stored { name: name.clone(), path: node.path().to_owned() });
    }
    let mut fields = node.object()?;
    let cohort = if fields.has("did") {
        let selector = Selector::parse(&fields.required("did")?)?;
        let (at_least, at_most) = parse_counts(&mut fields)?;
        CohortExpr::Did { selector, at_least, at_most, range: parse_range(&mut fields)? }
    } else if fields.has("did_not") {
        let selector = Selector::parse(&fields.required("did_not")?)?;
        CohortExpr::DidNot { selector, range: parse_range(&mut fields)? }
    } else if fields.has("first_did") {
        let selector = Selector::parse(&fields.required("first_did")?)?;
        CohortExpr::FirstDid { selector, range: parse_range(&mut fields)? }
    } else if fields.has("profile") {
        CohortExpr::Profile(Filter::parse_profile(&fields.required("profile")?)?)
    } else if fields.has("users") {
        let users = fields.required("users")?;
        let ids = users.strings()?;
        if ids.len() > COHORT_USER_COUNT_MAX {
            return Err(users.problem(format!("more than {COHORT_USER_COUNT_MAX} users")));
        }
        CohortExpr::Users(ids)
    } else if fields.has("all") {
        CohortExpr::All(inner_list(fields.required("all")?)?)
    } else if fields.has("any") {
        CohortExpr::Any(inner_list(fields.required("any")?)?)
    } else if fields.has("not") {
        CohortExpr::Not(Box::new(inner(&fields.required("not")?)?))
    } else if fields.has("cohort") {
        inner(&fields.required("cohort")?)?
    } else if fields.has("result") {
        CohortExpr::Result(Box::new(ResultCell::parse(&fields.required("result")?)?))
    } else if fields.has("sequence") {
        CohortExpr::Result(Box::new(ResultCell::parse_sequence(&mut fields)?))
    } else {
        return Err(not_a_cohort(node));
    };
    fields.finish()?;
    Ok(cohort)
}

/// `at_least`, 1 unless given, and `at_most`.
fn parse_counts(fields: &mut Fields<'_>) -> Result<(u64, Option<u64>), Problem> {
    let at_least = fields.optional("at_least").map_or(Ok(1), |count| count.integer(0..=i64::MAX))? as u64;
    let Some(node) = fields.optional("at_most") else { return Ok((at_least, None)) };
    let at_most = node.integer(0..=i64::MAX)? as u64;
    if at_most < at_least {
        let problem = node.problem(format!("\"at_most\" is less than \"at_least\", which is {at_least}"));
        return Err(problem.hint("for users without such an event use \"did_not\", or \"at_least\": 0"));
    }
    Ok((at_least, Some(at_most)))
}

fn not_a_cohort(node: &Node<'_>) -> Problem {
    let problem = node.problem(format!("a cohort has one of the fields {}", FORMS.join(", ")));
    let Json::Object(fields) = node.json() else { return problem };
    match fields.iter().find_map(|(name, _)| nearest(name, FORMS)) {
        Some(form) => problem.hint(format!("did you mean {form:?}?")),
        None => problem.hint("for example {\"did\": \"purchase\", \"at_least\": 3, \"from\": \"-30d\"}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::QueryKind;
    use super::*;

    fn parse(rest: &str) -> Result<CohortQuery, Problem> {
        let body = format!(r#"{{"kind": "cohort", {rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::Cohort(query) = request.kind else { panic!("a cohort") };
        Ok(query)
    }

    #[test]
    fn did_means_at_least_once_and_at_most_alone_too() {
        let counts = |rest: &str| {
            let query = parse(&format!(r#""cohort": {{"did": "buy"{rest}}}"#)).unwrap();
            let CohortExpr::Did { at_least, at_most, .. } = query.cohort else { panic!("did") };
            (at_least, at_most)
        };
        assert_eq!(counts(""), (1, None));
        assert_eq!(counts(r#", "at_most": 4"#), (1, Some(4)));
        assert_eq!(counts(r#", "at_least": 0, "at_most": 0"#), (0, Some(0)));
    }

    #[test]
    fn members_are_told_in_pages() {
        let query =
            parse(r#""cohort": {"users": ["a"]}, "select": "members", "limit": 10, "after": "u7""#).unwrap();
        assert_eq!(query.select, CohortSelect::Members { limit: Some(10), after: Some("u7".to_owned()) });
        assert_eq!(parse(r#""cohort": {"users": []}"#).unwrap().select, CohortSelect::Count);
    }

    #[test]
    fn a_profile_is_the_users_own() {
        assert!(parse(r#""cohort": {"profile": {"property": "plan", "op": "eq", "value": "pro"}}"#).is_ok());
        let on_event = r#""cohort": {"profile": {"property": "plan", "op": "is_set", "on": "event"}}"#;
        assert_eq!(parse(on_event).unwrap_err().path.as_deref(), Some("/cohort/profile/on"));
    }

    #[test]
    fn a_filter_may_hold_a_cohort_and_a_cohort_a_filter() {
        let nested = r#"{"did": {"event": "a", "where": {"cohort": {"not": {"did": "b", "at_last": 2}}}}}"#;
        let problem = parse(&format!(r#""cohort": {nested}"#)).unwrap_err();
        assert_eq!(problem.path.as_deref(), Some("/cohort/did/where/cohort/not/at_last"));
        assert_eq!(problem.hint.as_deref(), Some("did you mean \"at_least\"?"));
    }

    #[test]
    fn a_sequence_is_a_funnel_with_its_window() {
        let query = parse(r#""cohort": {"sequence": ["a", "b"], "window": "7d", "from": "-30d"}"#).unwrap();
        let CohortExpr::Result(cell) = query.cohort else { panic!("a cell") };
        let QueryKind::Funnel(funnel) = &cell.request.kind else { panic!("a funnel") };
        assert_eq!((funnel.steps.len(), funnel.window.to_string()), (2, "1w".to_owned()));
        assert!(cell.request.common.range.from.is_some());
        let problem = parse(r#""cohort": {"sequence": ["a"]}"#).unwrap_err();
        assert_eq!(problem.path.as_deref(), Some("/cohort/sequence"));
        let problem = parse(r#""cohort": {"sequence": ["a", "b"], "windw": "7d"}"#).unwrap_err();
        assert_eq!(problem.hint.as_deref(), Some("did you mean \"window\"?"));
    }

    #[test]
    fn errors_name_the_place() {
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#""cohort": {"all": [{"did": "a"}, {"dit": "b"}]}"#), "/cohort/all/1");
        assert_eq!(path(r#""cohort": {"did": "a", "at_least": 3, "at_most": 2}"#), "/cohort/at_most");
        assert_eq!(path(r#""cohort": {"did_not": "a", "at_least": 3}"#), "/cohort/at_least");
        assert_eq!(path(r#""cohort": {"did": "a", "from": "soon"}"#), "/cohort/from");
        assert_eq!(path(r#""cohort": {"users": ["a", 7]}"#), "/cohort/users/1");
        assert_eq!(path(r#""cohort": {"did": "a"}, "limit": 5"#), "/limit");
        assert_eq!(path(r#""cohort": 7"#), "/cohort");
        let funnel = |query: &str| format!(r#""cohort": {{"any": [{{"result": {query}}}]}}"#);
        assert_eq!(path(&funnel(r#"{"kind": "funel", "query": {}}"#)), "/cohort/any/0/result/kind");
        let one_step = funnel(r#"{"kind": "funnel", "query": {"steps": ["a"]}, "step": 1}"#);
        assert_eq!(path(&one_step), "/cohort/any/0/result/query/steps");
        assert_eq!(path(r#""cohort": {"sequence": ["a"]}"#), "/cohort/sequence");
        assert_eq!(path(r#""cohort": {"sequence": ["a", 1]}"#), "/cohort/sequence/1");
        assert_eq!(path(r#""cohort": {"sequence": ["a", "b"], "window": "1mo"}"#), "/cohort/window");
        assert_eq!(path(r#""cohort": {"sequence": ["a", "b"], "step": 2}"#), "/cohort/step");
        let unknown = funnel(r#"{"kind": "funnel", "query": {"steps": ["a", "b"], "windw": "1d"}}"#);
        assert_eq!(path(&unknown), "/cohort/any/0/result/query/windw");
    }
}
