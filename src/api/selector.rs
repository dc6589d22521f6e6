//! Which events are meant: by name, by what they carry, or any of several.

use super::{Fields, Filter, Json, Node, Problem};
use crate::limits::{EVENT_NAME_SIZE_MAX, SELECTOR_EVENT_COUNT_MAX};

/// Events that match any of its parts. An event that matches several is one event still.
#[derive(Clone, Debug)]
pub struct Selector {
    /// Never empty.
    pub any_of: Vec<EventSelector>,
    /// The name it was given with `as`, or `a or b`.
    pub label: String,
}

/// Events of one name, or any, that satisfy a filter.
#[derive(Clone, Debug)]
pub struct EventSelector {
    pub event: EventName,
    pub filter: Option<Filter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventName {
    /// `"*"`.
    Any,
    Named(String),
}

const ANY: &str = "*";

impl EventName {
    fn parse(node: &Node<'_>) -> Result<EventName, Problem> {
        let name = node.string()?;
        if name == ANY {
            return Ok(EventName::Any);
        }
        if name.is_empty() || name.len() > EVENT_NAME_SIZE_MAX {
            let problem = node.problem(format!("an event's name has 1 to {EVENT_NAME_SIZE_MAX} bytes"));
            return Err(problem.hint("\"*\" means any event"));
        }
        Ok(EventName::Named(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        match self {
            EventName::Any => ANY,
            EventName::Named(name) => name,
        }
    }
}

impl Selector {
    /// Whether which events it means depends on who is in a cohort.
    pub fn has_cohort(&self) -> bool {
        self.any_of.iter().filter_map(|part| part.filter.as_ref()).any(Filter::has_cohort)
    }

    /// Any event at all.
    pub fn any() -> Selector {
        Selector {
            any_of: vec![EventSelector { event: EventName::Any, filter: None }],
            label: ANY.to_owned(),
        }
    }

    pub fn parse(node: &Node<'_>) -> Result<Selector, Problem> {
        match node.json() {
            Json::String(_) => {
                let event = EventName::parse(node)?;
                let label = event.as_str().to_owned();
                Ok(Selector { any_of: vec![EventSelector { event, filter: None }], label })
            }
            Json::Object(_) => {
                let mut fields = node.object()?;
                let selector = Selector::parse_fields(&mut fields)?;
                fields.finish()?;
                Ok(selector)
            }
            _ => Err(node
                .problem("expected an event's name or a selector")
                .hint("for example \"signup\", \"*\", or {\"event\": \"purchase\", \"where\": <filter>}")),
        }
    }

    /// Reads the fields of a selector from an object that may have more.
    pub fn parse_fields(fields: &mut Fields<'_>) -> Result<Selector, Problem> {
        let (any_of, default_label) = if fields.has("any_of") {
            let node = fields.required("any_of")?;
            let inner = node.array()?.iter().map(Selector::parse).collect::<Result<Vec<_>, _>>()?;
            let label = inner.iter().map(|selector| selector.label.as_str()).collect::<Vec<_>>().join(" or ");
            let any_of: Vec<EventSelector> = inner.into_iter().flat_map(|selector| selector.any_of).collect();
            if any_of.is_empty() || any_of.len() > SELECTOR_EVENT_COUNT_MAX {
                return Err(
                    node.problem(format!("\"any_of\" takes 1 to {SELECTOR_EVENT_COUNT_MAX} selectors"))
                );
            }
            (any_of, label)
        } else {
            let event = EventName::parse(&fields.required("event")?)?;
            let filter = fields.optional("where").map(|filter| Filter::parse(&filter)).transpose()?;
            let label = event.as_str().to_owned();
            (vec![EventSelector { event, filter }], label)
        };
        let given = fields.optional("as").map(|label| label.string().map(str::to_owned)).transpose()?;
        Ok(Selector { any_of, label: given.unwrap_or(default_label) })
    }

    /// Whether it matches every event, without looking at any.
    pub fn is_every_event(&self) -> bool {
        self.any_of.iter().any(|part| part.event == EventName::Any && part.filter.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Selector, Problem> {
        Selector::parse(&Json::parse(json.as_bytes()).unwrap().root())
    }

    #[test]
    fn a_selector_is_named_after_its_events_unless_it_has_a_name() {
        let label = |json: &str| parse(json).unwrap().label;
        assert_eq!(label("\"signup\""), "signup");
        assert_eq!(label(r#"{"event": "buy", "as": "purchase"}"#), "purchase");
        assert_eq!(label(r#"{"any_of": ["a", {"any_of": ["b", "*"]}]}"#), "a or b or *");
        assert_eq!(label(r#"{"any_of": ["a", {"event": "b", "as": "B"}]}"#), "a or B");
        assert_eq!(label(r#"{"any_of": ["a", "b"], "as": "either"}"#), "either");
    }

    #[test]
    fn only_the_bare_star_matches_every_event() {
        assert!(parse("\"*\"").unwrap().is_every_event());
        assert!(parse(r#"{"any_of": ["a", "*"]}"#).unwrap().is_every_event());
        let filtered = r#"{"event": "*", "where": {"property": "p", "op": "is_set"}}"#;
        assert!(!parse(filtered).unwrap().is_every_event());
        assert!(!parse("\"a\"").unwrap().is_every_event());
    }

    #[test]
    fn errors_name_the_place() {
        let path = |json: &str| parse(json).unwrap_err().path;
        assert_eq!(path(r#"{"any_of": ["a", {"event": ""}]}"#).as_deref(), Some("/any_of/1/event"));
        assert_eq!(path(r#"{"any_of": []}"#).as_deref(), Some("/any_of"));
        assert_eq!(path(r#"{"event": "a", "were": {}}"#).as_deref(), Some("/were"));
        assert_eq!(path(r#"{"any_of": ["a"], "where": {}}"#).as_deref(), Some("/where"));
        assert_eq!(parse("17").unwrap_err().path.as_deref(), Some(""));
        let misspelt = parse(r#"{"evnt": "a"}"#).unwrap_err();
        assert_eq!(
            (misspelt.path.as_deref(), misspelt.detail.as_str()),
            (Some("/evnt"), "unknown field \"evnt\"")
        );
        assert_eq!(misspelt.hint.as_deref(), Some("did you mean \"event\"?"));
    }
}
