//! The query `funnel`: who got how far through ordered steps.

use super::{Breakdown, Fields, Node, Problem, Selector};
use crate::limits::FUNNEL_STEP_COUNT_MAX;
use crate::model::{DAY_MS, DurationMs};

#[derive(Clone, Debug)]
pub struct FunnelQuery {
    /// 2 to [`FUNNEL_STEP_COUNT_MAX`].
    pub steps: Vec<Selector>,
    /// Time allowed from the first step to the last, both ends inside.
    pub window: DurationMs,
    /// Every step later than the one before it, instead of no earlier.
    pub strict_time: bool,
    /// Later steps, too, lie in the query's range.
    pub within_range: bool,
    pub breakdowns: Vec<Breakdown>,
}

/// The conversion window unless another is asked for.
const WINDOW_DEFAULT: DurationMs = DurationMs::from_ms(14 * DAY_MS);

impl FunnelQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<FunnelQuery, Problem> {
        let plain = FunnelQuery::parse_ordered(fields, "steps")?;
        if let Some(order) = fields.optional("order") {
            order.word(&[("ordered", ())])?;
        }
        let strict_time = fields.optional("strict_time").map_or(Ok(false), |flag| flag.bool())?;
        let within_range = fields.optional("within_range").map_or(Ok(false), |flag| flag.bool())?;
        if let Some(count) = fields.optional("count") {
            count.word(&[("users", ())])?;
        }
        let breakdowns = Breakdown::parse_list(fields, true)?;
        Ok(FunnelQuery { strict_time, within_range, breakdowns, ..plain })
    }

    /// Reads an ordered funnel without further options: its steps, from a field of this name, and its window.
    pub(super) fn parse_ordered(
        fields: &mut Fields<'_>,
        steps_name: &'static str,
    ) -> Result<FunnelQuery, Problem> {
        let node = fields.required(steps_name)?;
        let steps = node.array()?;
        if !(2..=FUNNEL_STEP_COUNT_MAX).contains(&steps.len()) {
            return Err(node
                .problem(format!("a funnel has 2 to {FUNNEL_STEP_COUNT_MAX} steps, found {}", steps.len())));
        }
        let steps = steps.iter().map(Selector::parse).collect::<Result<Vec<_>, _>>()?;
        let window =
            fields.optional("window").map_or(Ok(WINDOW_DEFAULT), |window| parse_duration(&window))?;
        Ok(FunnelQuery { steps, window, strict_time: false, within_range: false, breakdowns: Vec::new() })
    }
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
        assert_eq!(query.steps[1].label, "bee");
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
        assert_eq!(path(r#""steps": ["a", {"event": "b", "within": "1h"}]"#), "/steps/1/within");
        assert_eq!(path(r#""steps": ["a", "b"], "window": "1mo""#), "/window");
        assert_eq!(path(r#""steps": ["a", "b"], "order": "strict""#), "/order");
        assert_eq!(path(r#""steps": ["a", "b"], "strict_time": 1"#), "/strict_time");
        let last = r#""steps": ["a", "b"], "breakdown": {"property": "p", "attribution": "last"}"#;
        assert_eq!(path(last), "/breakdown/attribution");
        let too_many = vec!["\"a\""; FUNNEL_STEP_COUNT_MAX + 1].join(",");
        assert!(parse(&format!("\"steps\": [{too_many}]")).unwrap_err().detail.ends_with("found 65"));
    }
}
