//! The query `funnel`: who got how far through ordered steps.

use super::{Attribution, Breakdown, Fields, Interval, Node, Problem, Selector};
use crate::limits::{
    FUNNEL_EXCLUSION_COUNT_MAX, FUNNEL_HOLD_COUNT_MAX, FUNNEL_STEP_COUNT_MAX, HISTOGRAM_BIN_COUNT_MAX,
    SELECTOR_EVENT_COUNT_MAX,
};
use crate::model::{DAY_MS, DurationMs, MINUTE_MS};

use super::filter::parse_property;

#[derive(Clone, Debug)]
pub struct FunnelQuery {
    /// 2 to [`FUNNEL_STEP_COUNT_MAX`].
    pub steps: Vec<FunnelStep>,
    /// Time allowed from the first step to the last, both ends inside.
    pub window: DurationMs,
    pub order: FunnelOrder,
    /// Every step later than the one before it, instead of no earlier.
    pub strict_time: bool,
    /// Later steps, too, lie in the query's range.
    pub within_range: bool,
    pub exclusions: Vec<FunnelExclusion>,
    /// Properties whose values all events of an attempt share.
    pub hold: Vec<String>,
    pub count: FunnelCount,
    /// Whether `count` asks for accounts in the place of users, as `entity` does for any query.
    pub counts_accounts: bool,
    pub breakdowns: Vec<Breakdown>,
    /// Of all breakdowns.
    pub attribution: Attribution,
    pub interval: Option<Interval>,
    /// Every bucket of `interval` is a funnel of its own.
    pub per_bucket: bool,
    pub histogram: Option<FunnelHistogram>,
}

#[derive(Clone, Debug)]
pub struct FunnelStep {
    pub selector: Selector,
    /// Time allowed since the event before in the attempt. Never on the first step.
    pub within: Option<DurationMs>,
    /// Who skips it can still go on. Never the first or the last step.
    pub is_optional: bool,
}

#[derive(Clone, Debug)]
pub enum FunnelOrder {
    /// Other events may come between.
    Ordered,
    /// No event that one of these means may come between; the attempt's own do not count.
    Strict(Vec<Selector>),
    /// The steps in any order.
    Any,
}

/// Events that end an attempt between two steps.
#[derive(Clone, Debug)]
pub struct FunnelExclusion {
    pub selector: Selector,
    /// Counted from 1, less than `before_step`.
    pub after_step: usize,
    pub before_step: usize,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunnelCount {
    Users,
    /// A longer gap between two events of a user cuts its sessions.
    Sessions {
        gap: DurationMs,
    },
    /// Held values of each user.
    Held,
    Attempts,
}

/// How long users took from one step to another, as bins of equal width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunnelHistogram {
    /// Counted from 1, less than `to_step`.
    pub from_step: usize,
    pub to_step: usize,
    pub bin_count: usize,
}

/// The conversion window unless another is asked for.
const WINDOW_DEFAULT: DurationMs = DurationMs::from_ms(14 * DAY_MS);
/// The gap that cuts sessions unless another is asked for.
const SESSION_GAP_DEFAULT: DurationMs = DurationMs::from_ms(30 * MINUTE_MS);

impl FunnelQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<FunnelQuery, Problem> {
        let steps = parse_steps(&fields.required("steps")?)?;
        let window =
            fields.optional("window").map_or(Ok(WINDOW_DEFAULT), |window| parse_duration(&window))?;
        let order = parse_order(fields)?;
        let strict_time = parse_flag(fields, "strict_time")?;
        let within_range = parse_flag(fields, "within_range")?;
        let (exclusions, numbered) = parse_exclusions(fields, steps.len())?;
        let hold = parse_hold(fields)?;
        let (count, counts_accounts) = parse_count(fields, &hold)?;
        let breakdowns = Breakdown::parse_list(fields, true)?;
        let attribution = one_attribution(fields, &breakdowns, steps.len())?;
        let interval = if fields.has("interval") { Some(Interval::parse(fields)?) } else { None };
        let per_bucket = parse_flag(fields, "per_bucket")?;
        if per_bucket && interval.is_none() {
            return Err(beside(fields, "per_bucket", "\"per_bucket\" needs an \"interval\""));
        }
        let histogram = parse_histogram(fields, steps.len())?;
        if histogram.is_some() && (interval.is_some() || !breakdowns.is_empty()) {
            return Err(beside(fields, "histogram", "a histogram is of all attempts, without a split"));
        }
        let query = FunnelQuery {
            steps,
            window,
            order,
            strict_time,
            within_range,
            exclusions,
            hold,
            count,
            counts_accounts,
            breakdowns,
            attribution,
            interval,
            per_bucket,
            histogram,
        };
        query.check(fields, numbered)?;
        Ok(query)
    }

    /// Refuses options that have no meaning together. `numbered` is the first exclusion that names steps.
    fn check(&self, fields: &Fields<'_>, numbered: Option<usize>) -> Result<(), Problem> {
        let is_any = matches!(self.order, FunnelOrder::Any);
        let is_attempts = self.count == FunnelCount::Attempts;
        if is_attempts && !matches!(self.order, FunnelOrder::Ordered) {
            return Err(beside(fields, "count", "attempts are counted in the order \"ordered\" only"));
        }
        if is_attempts && !self.hold.is_empty() {
            return Err(beside(fields, "hold", "attempts are counted without \"hold\""));
        }
        let what = match (is_any, is_attempts) {
            (true, _) => "in any order",
            (_, true) => "where attempts are counted",
            _ => return Ok(()),
        };
        for (index, step) in self.steps.iter().enumerate() {
            let option = match step {
                FunnelStep { within: Some(_), .. } => "within",
                FunnelStep { is_optional: true, .. } => "optional",
                _ => continue,
            };
            let detail = format!("{option:?} has no meaning {what}");
            return Err(fields
                .node()
                .problem(detail)
                .at(format!("{}/steps/{index}/{option}", fields.node().path())));
        }
        match numbered {
            Some(index) if is_any => {
                let problem = fields.node().problem("exclusions between steps have no meaning in any order");
                Err(problem.at(format!("{}/exclude/{index}", fields.node().path())))
            }
            _ => Ok(()),
        }
    }
}

/// A problem with the field of this name.
fn beside(fields: &Fields<'_>, name: &str, detail: &str) -> Problem {
    fields.node().problem(detail).at(format!("{}/{name}", fields.node().path()))
}

fn parse_flag(fields: &mut Fields<'_>, name: &'static str) -> Result<bool, Problem> {
    fields.optional(name).map_or(Ok(false), |flag| flag.bool())
}

fn parse_steps(node: &Node<'_>) -> Result<Vec<FunnelStep>, Problem> {
    let nodes = node.array()?;
    if !(2..=FUNNEL_STEP_COUNT_MAX).contains(&nodes.len()) {
        return Err(
            node.problem(format!("a funnel has 2 to {FUNNEL_STEP_COUNT_MAX} steps, found {}", nodes.len()))
        );
    }
    let last = nodes.len() - 1;
    let steps =
        nodes.iter().enumerate().map(|(index, node)| FunnelStep::parse(node, index == 0, index == last));
    steps.collect()
}

impl FunnelStep {
    fn parse(node: &Node<'_>, is_first: bool, is_last: bool) -> Result<FunnelStep, Problem> {
        let super::Json::Object(_) = node.json() else {
            return Ok(FunnelStep { selector: Selector::parse(node)?, within: None, is_optional: false });
        };
        let mut fields = node.object()?;
        let within = fields.optional("within");
        let optional = fields.optional("optional");
        let selector = Selector::parse_fields(&mut fields)?;
        fields.finish()?;
        if let Some(within) = within.as_ref().filter(|_| is_first) {
            return Err(within.problem("the first step has no step before it"));
        }
        let is_optional = optional.as_ref().map_or(Ok(false), |flag| flag.bool())?;
        if let Some(optional) = optional.filter(|_| is_optional && (is_first || is_last)) {
            return Err(optional.problem("the first and the last step cannot be optional"));
        }
        let within = within.map(|within| parse_duration(&within)).transpose()?;
        Ok(FunnelStep { selector, within, is_optional })
    }
}

fn parse_order(fields: &mut Fields<'_>) -> Result<FunnelOrder, Problem> {
    #[derive(Clone, Copy)]
    enum Word {
        Ordered,
        Strict,
        Any,
    }
    let words = [("ordered", Word::Ordered), ("strict", Word::Strict), ("any", Word::Any)];
    let word = fields.optional("order").map_or(Ok(Word::Ordered), |order| order.word(&words))?;
    let over = fields.optional("strict_over");
    match (word, over) {
        (Word::Strict, None) => Ok(FunnelOrder::Strict(vec![Selector::any()])),
        (Word::Strict, Some(over)) => {
            let nodes = over.array()?;
            if nodes.is_empty() || nodes.len() > SELECTOR_EVENT_COUNT_MAX {
                let detail = format!("\"strict_over\" takes 1 to {SELECTOR_EVENT_COUNT_MAX} selectors");
                return Err(over.problem(detail));
            }
            Ok(FunnelOrder::Strict(nodes.iter().map(Selector::parse).collect::<Result<_, _>>()?))
        }
        (_, Some(over)) => Err(over.problem("\"strict_over\" goes with \"order\": \"strict\"")),
        (Word::Ordered, None) => Ok(FunnelOrder::Ordered),
        (Word::Any, None) => Ok(FunnelOrder::Any),
    }
}

/// The exclusions, and the place of the first that names steps.
fn parse_exclusions(
    fields: &mut Fields<'_>,
    step_count: usize,
) -> Result<(Vec<FunnelExclusion>, Option<usize>), Problem> {
    let Some(node) = fields.optional("exclude") else { return Ok((Vec::new(), None)) };
    let nodes = node.array()?;
    if nodes.len() > FUNNEL_EXCLUSION_COUNT_MAX {
        return Err(node.problem(format!("a funnel has at most {FUNNEL_EXCLUSION_COUNT_MAX} exclusions")));
    }
    let mut exclusions = Vec::with_capacity(nodes.len());
    let mut numbered = None;
    for (index, node) in nodes.iter().enumerate() {
        let mut fields = node.object()?;
        let selector = Selector::parse(&fields.required("event")?)?;
        let mut step = |name: &'static str, default: usize| match fields.optional(name) {
            Some(step) => {
                numbered.get_or_insert(index);
                step.integer(1..=step_count as i64).map(|step| step as usize)
            }
            None => Ok(default),
        };
        let (after_step, before_step) = (step("after_step", 1)?, step("before_step", step_count)?);
        fields.finish()?;
        if after_step >= before_step {
            let detail = format!("step {before_step} does not come after step {after_step}");
            return Err(node.problem(detail));
        }
        exclusions.push(FunnelExclusion { selector, after_step, before_step });
    }
    Ok((exclusions, numbered))
}

fn parse_hold(fields: &mut Fields<'_>) -> Result<Vec<String>, Problem> {
    let Some(node) = fields.optional("hold") else { return Ok(Vec::new()) };
    let nodes = node.array()?;
    if nodes.len() > FUNNEL_HOLD_COUNT_MAX {
        return Err(node.problem(format!("at most {FUNNEL_HOLD_COUNT_MAX} properties can be held")));
    }
    nodes.iter().map(parse_property).collect()
}

/// What is counted, and whether of accounts.
fn parse_count(fields: &mut Fields<'_>, hold: &[String]) -> Result<(FunnelCount, bool), Problem> {
    let node = fields.optional("count");
    let gap = fields.optional("session_gap");
    let words = [
        ("users", (FunnelCount::Users, false)),
        ("accounts", (FunnelCount::Users, true)),
        ("sessions", (FunnelCount::Sessions { gap: SESSION_GAP_DEFAULT }, false)),
        ("held", (FunnelCount::Held, false)),
        ("attempts", (FunnelCount::Attempts, false)),
    ];
    let (count, of_accounts) =
        node.as_ref().map_or(Ok((FunnelCount::Users, false)), |count| count.word(&words))?;
    match (count, gap, node) {
        (FunnelCount::Sessions { .. }, Some(gap), _) => {
            Ok((FunnelCount::Sessions { gap: parse_duration(&gap)? }, false))
        }
        (_, Some(gap), _) => Err(gap.problem("\"session_gap\" goes with \"count\": \"sessions\"")),
        (FunnelCount::Held, None, Some(node)) if hold.is_empty() => Err(node
            .problem("held values are counted where some are held")
            .hint("name properties in \"hold\"")),
        (count, None, _) => Ok((count, of_accounts)),
    }
}

/// What all breakdowns say, the first event unless one says otherwise.
fn one_attribution(
    fields: &Fields<'_>,
    breakdowns: &[Breakdown],
    step_count: usize,
) -> Result<Attribution, Problem> {
    let mut said = breakdowns.iter().filter_map(|breakdown| breakdown.attribution);
    let attribution = said.next().unwrap_or(Attribution::First);
    if said.any(|other| other != attribution) {
        return Err(beside(fields, "breakdown", "all properties of a breakdown have one attribution"));
    }
    match attribution {
        Attribution::Step(step) if step > step_count => {
            Err(beside(fields, "breakdown", &format!("there is no step {step}")))
        }
        attribution => Ok(attribution),
    }
}

fn parse_histogram(fields: &mut Fields<'_>, step_count: usize) -> Result<Option<FunnelHistogram>, Problem> {
    let Some(node) = fields.optional("histogram") else { return Ok(None) };
    let mut fields = node.object()?;
    let steps = 1..=step_count as i64;
    let from_step = fields.required("from_step")?.integer(steps.clone())? as usize;
    let to_step = fields.required("to_step")?.integer(steps)? as usize;
    let bin_count = fields.required("bins")?.integer(1..=HISTOGRAM_BIN_COUNT_MAX as i64)? as usize;
    fields.finish()?;
    if from_step >= to_step {
        return Err(node.problem(format!("step {to_step} does not come after step {from_step}")));
    }
    Ok(Some(FunnelHistogram { from_step, to_step, bin_count }))
}

pub(super) fn parse_duration(node: &Node<'_>) -> Result<DurationMs, Problem> {
    let text = node.string()?;
    DurationMs::parse(text).ok_or_else(|| {
        node.problem(format!("{text:?} is not a duration"))
            .hint("a number and one of ms, s, m, h, d, w, for example \"7d\"; months have no fixed length")
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Json, QueryKind, QueryRequest};
    use super::*;

    fn parse(rest: &str) -> Result<FunnelQuery, Problem> {
        let body = format!(r#"{{"kind": "funnel", {rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::Funnel(query) = request.kind else { panic!("a funnel") };
        Ok(query)
    }

    #[test]
    fn a_funnel_of_names_has_a_window_of_two_weeks() {
        let query = parse(r#""steps": ["a", {"event": "b", "as": "bee"}]"#).unwrap();
        assert_eq!(query.window.to_string(), "2w");
        assert_eq!(query.steps[1].selector.label, "bee");
        assert!(!query.strict_time);
        let query =
            parse(r#""steps": ["a", "b"], "window": "250ms", "strict_time": true, "order": "ordered""#);
        assert_eq!(query.unwrap().window, DurationMs::from_ms(250));
    }

    #[test]
    fn errors_name_the_place() {
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#""steps": ["a"]"#), "/steps");
        assert_eq!(path(r#""steps": ["a", 2]"#), "/steps/1");
        assert_eq!(path(r#""steps": ["a", {"event": "b", "within": "1y"}]"#), "/steps/1/within");
        assert_eq!(path(r#""steps": [{"event": "a", "within": "1h"}, "b"]"#), "/steps/0/within");
        assert_eq!(path(r#""steps": ["a", {"event": "b", "optional": true}]"#), "/steps/1/optional");
        assert_eq!(path(r#""steps": ["a", "b"], "window": "1mo""#), "/window");
        assert_eq!(path(r#""steps": ["a", "b"], "order": "sorted""#), "/order");
        assert_eq!(path(r#""steps": ["a", "b"], "strict_over": ["c"]"#), "/strict_over");
        assert_eq!(
            path(r#""order": "any", "steps": ["a", {"event": "b", "within": "1h"}]"#),
            "/steps/1/within"
        );
        let numbered = r#""order": "any", "steps": ["a", "b"], "exclude": [{"event": "x", "after_step": 1}]"#;
        assert_eq!(path(numbered), "/exclude/0");
        let backward = r#""steps": ["a", "b"], "exclude": [{"event": "x", "after_step": 2}]"#;
        assert_eq!(path(backward), "/exclude/0");
        assert_eq!(path(r#""steps": ["a", "b"], "count": "held""#), "/count");
        assert_eq!(path(r#""steps": ["a", "b"], "count": "attempts", "hold": ["p"]"#), "/hold");
        assert_eq!(path(r#""steps": ["a", "b"], "session_gap": "1h""#), "/session_gap");
        assert_eq!(path(r#""steps": ["a", "b"], "per_bucket": true"#), "/per_bucket");
        let bins = r#""steps": ["a", "b"], "histogram": {"from_step": 2, "to_step": 2, "bins": 3}"#;
        assert_eq!(path(bins), "/histogram");
        assert_eq!(path(r#""steps": ["a", "b"], "strict_time": 1"#), "/strict_time");
        let last = r#""steps": ["a", "b"], "breakdown": {"property": "p", "attribution": "latest"}"#;
        assert_eq!(path(last), "/breakdown/attribution");
        let third = r#""steps": ["a", "b"], "breakdown": {"property": "p", "attribution": {"step": 3}}"#;
        assert_eq!(path(third), "/breakdown");
        let too_many = vec!["\"a\""; FUNNEL_STEP_COUNT_MAX + 1].join(",");
        assert!(parse(&format!("\"steps\": [{too_many}]")).unwrap_err().detail.ends_with("found 65"));
    }
}
