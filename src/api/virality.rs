//! The query `virality`: how many users bring how many others, and how soon.

use super::funnel::parse_duration;
use super::lifecycle::parse_lasting;
use super::{Breakdown, Fields, GrowthModel, Interval, Problem};
use crate::model::{DAY_MS, DurationMs};

#[derive(Clone, Debug)]
pub struct ViralityQuery {
    /// The parts that the query has itself: of them signup, invite and accept matter.
    pub model: GrowthModel,
    pub told: ViralityTold,
    /// By what users or their accounts are, never by what an event carries.
    pub breakdowns: Vec<Breakdown>,
}

/// What the rows of a virality are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViralityTold {
    /// Intervals: each event counts in its own.
    ByEvent { interval: Interval },
    /// Intervals: what users sent, and what others accepted from them, up to `window` after their signup counts in the
    /// interval of that signup.
    BySignup { interval: Interval, window: DurationMs },
    /// Generations: who was invited by nobody, by those, and so on.
    Tree,
}

/// How long after a signup its invitations count, unless said.
const WINDOW_DEFAULT: DurationMs = DurationMs::from_ms(30 * DAY_MS);

impl ViralityQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<ViralityQuery, Problem> {
        let model = GrowthModel::parse_parts(fields)?;
        let interval = Interval::parse(fields)?;
        let by = fields.optional("by");
        let is_by_signup =
            by.as_ref().map_or(Ok(false), |by| by.word(&[("signup", true), ("event", false)]))?;
        let window = fields.optional("window");
        let is_tree = fields.optional("tree").map_or(Ok(false), |tree| tree.bool())?;
        let told = if is_tree {
            if let Some(misplaced) = by.or(window) {
                let problem = misplaced.problem("the rows of a tree are generations, not intervals");
                return Err(problem.hint("leave it out, or leave out \"tree\""));
            }
            ViralityTold::Tree
        } else if is_by_signup {
            let window = window.map_or(Ok(WINDOW_DEFAULT), |window| parse_duration(&window))?;
            ViralityTold::BySignup { interval, window }
        } else {
            if let Some(misplaced) = window {
                return Err(misplaced
                    .problem("a window is counted from a signup")
                    .hint("it goes with \"by\": \"signup\""));
            }
            ViralityTold::ByEvent { interval }
        };
        Ok(ViralityQuery { model, told, breakdowns: parse_lasting(fields)? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Json, QueryKind, QueryRequest};
    use super::*;

    fn parse(rest: &str) -> Result<ViralityTold, Problem> {
        let body = format!(r#"{{"kind": "virality"{rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::Virality(query) = request.kind else { panic!("a virality") };
        Ok(query.told)
    }

    #[test]
    fn events_count_in_their_own_interval_unless_said() {
        let interval = Interval::Day;
        assert_eq!(parse("").unwrap(), ViralityTold::ByEvent { interval });
        let window = WINDOW_DEFAULT;
        assert_eq!(parse(r#", "by": "signup""#).unwrap(), ViralityTold::BySignup { interval, window });
        let window = DurationMs::parse("2w").unwrap();
        assert_eq!(
            parse(r#", "by": "signup", "window": "2w""#).unwrap(),
            ViralityTold::BySignup { interval, window }
        );
        assert_eq!(parse(r#", "tree": true"#).unwrap(), ViralityTold::Tree);
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#", "window": "7d""#), "/window");
        assert_eq!(path(r#", "by": "week""#), "/by");
        assert_eq!(path(r#", "tree": true, "window": "7d""#), "/window");
        assert_eq!(path(r#", "tree": true, "by": "signup""#), "/by");
        assert_eq!(path(r#", "breakdown": {"property": "plan"}"#), "/breakdown");
    }
}
