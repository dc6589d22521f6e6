//! The query `paths`: which events follow one another, move by move.

use super::funnel::parse_duration;
use super::{Fields, Node, Problem, Selector};
use crate::limits::{
    PATH_LIMIT_DEFAULT, PATH_LIMIT_MAX, PATH_STEP_COUNT_DEFAULT, PATH_STEP_COUNT_MAX,
    SELECTOR_EVENT_COUNT_MAX,
};
use crate::model::{DurationMs, MINUTE_MS};

#[derive(Clone, Debug)]
pub struct PathsQuery {
    pub anchor: PathAnchor,
    /// Moves that are told of a path: 1 to [`PATH_STEP_COUNT_MAX`].
    pub steps: usize,
    /// Rows of their own, for each step, or of the whole paths: 1 to [`PATH_LIMIT_MAX`].
    pub limit: usize,
    /// The events that paths consist of.
    pub events: Selector,
    /// Of those, the ones that are left out.
    pub exclude: Option<Selector>,
    pub cut: PathCut,
    /// Whether repeats of one event in a row are nodes of their own.
    pub repeats: bool,
    /// Whether paths are told as a whole, not by move.
    pub whole: bool,
}

/// Where paths begin or end.
#[derive(Clone, Debug)]
pub enum PathAnchor {
    /// A path is all that its session or window has.
    None,
    /// At the first match.
    Start(Selector),
    /// At the last match.
    End(Selector),
}

/// What parts the events of a user into paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathCut {
    /// A longer gap between two neighbouring events of the user.
    Gap(DurationMs),
    /// So much time from the first event of a path, its end inside.
    Window(DurationMs),
}

/// The gap that parts sessions unless another is asked for.
const SESSION_GAP_DEFAULT: DurationMs = DurationMs::from_ms(30 * MINUTE_MS);

impl PathsQuery {
    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<PathsQuery, Problem> {
        let anchor = match (fields.optional("start"), fields.optional("end")) {
            (None, None) => PathAnchor::None,
            (Some(start), None) => PathAnchor::Start(Selector::parse(&start)?),
            (None, Some(end)) => PathAnchor::End(Selector::parse(&end)?),
            (Some(_), Some(end)) => {
                let problem = end.problem("paths have a \"start\" or an \"end\", not both");
                return Err(problem.hint("for who came from one event to another ask a funnel"));
            }
        };
        let cut = match (fields.optional("session_gap"), fields.optional("window")) {
            (None, None) => PathCut::Gap(SESSION_GAP_DEFAULT),
            (Some(gap), None) => PathCut::Gap(parse_duration(&gap)?),
            (None, Some(window)) => PathCut::Window(parse_duration(&window)?),
            (Some(_), Some(window)) => {
                let problem =
                    window.problem("paths are cut by a \"session_gap\" or by a \"window\", not both");
                return Err(problem.hint("leave one of them out"));
            }
        };
        let mut count = |name, default: usize, max: usize| match fields.optional(name) {
            Some(node) => node.integer(1..=max as i64).map(|count| count as usize),
            None => Ok(default),
        };
        let steps = count("steps", PATH_STEP_COUNT_DEFAULT, PATH_STEP_COUNT_MAX)?;
        let limit = count("limit", PATH_LIMIT_DEFAULT, PATH_LIMIT_MAX)?;
        let mut any_of = |name| fields.optional(name).map(|list| parse_any_of(&list)).transpose();
        let events = any_of("events")?.unwrap_or_else(Selector::any);
        let exclude = any_of("exclude")?;
        let mut flag = |name| fields.optional(name).map_or(Ok(false), |flag| flag.bool());
        let (repeats, whole) = (flag("repeats")?, flag("whole")?);
        Ok(PathsQuery { anchor, steps, limit, events, exclude, cut, repeats, whole })
    }
}

/// Reads a list of selectors as events that match any of them.
fn parse_any_of(node: &Node<'_>) -> Result<Selector, Problem> {
    let selectors = node.array()?.iter().map(Selector::parse).collect::<Result<Vec<_>, _>>()?;
    let label = selectors.iter().map(|selector| selector.label.as_str()).collect::<Vec<_>>().join(" or ");
    let any_of: Vec<_> = selectors.into_iter().flat_map(|selector| selector.any_of).collect();
    if any_of.is_empty() || any_of.len() > SELECTOR_EVENT_COUNT_MAX {
        return Err(node
            .problem(format!("expected a list of 1 to {SELECTOR_EVENT_COUNT_MAX} selectors"))
            .hint("for example [\"page_viewed\", \"button_clicked\"]; without the field it is every event"));
    }
    Ok(Selector { any_of, label })
}

#[cfg(test)]
mod tests {
    use super::super::{Json, QueryKind, QueryRequest};
    use super::*;

    fn parse(rest: &str) -> Result<PathsQuery, Problem> {
        let body = format!(r#"{{"kind": "paths" {rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::Paths(query) = request.kind else { panic!("paths") };
        Ok(query)
    }

    #[test]
    fn paths_are_sessions_of_every_event_unless_said_otherwise() {
        let query = parse("").unwrap();
        assert!(matches!(query.anchor, PathAnchor::None));
        assert!(query.events.is_every_event());
        assert!(query.exclude.is_none());
        assert_eq!(query.cut, PathCut::Gap(DurationMs::from_ms(30 * MINUTE_MS)));
        assert_eq!((query.steps, query.limit, query.repeats, query.whole), (5, 10, false, false));
    }

    #[test]
    fn errors_name_the_place() {
        let path = |rest: &str| parse(rest).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#", "start": "a", "end": "b""#), "/end");
        assert_eq!(path(r#", "session_gap": "1h", "window": "1d""#), "/window");
        assert_eq!(path(r#", "session_gap": "1 hour""#), "/session_gap");
        assert_eq!(path(r#", "steps": 0"#), "/steps");
        assert_eq!(path(r#", "limit": 10001"#), "/limit");
        assert_eq!(path(r#", "events": []"#), "/events");
        assert_eq!(path(r#", "exclude": ["a", 7]"#), "/exclude/1");
        assert_eq!(path(r#", "breakdown": {"property": "p"}"#), "/breakdown");
    }
}
