//! The query `pql`: product-qualified leads, users or accounts scored by what they do and are.

use super::filter::parse_property;
use super::funnel::parse_duration;
use super::growth_model::parse_event_fields;
use super::{CohortExpr, Fields, Filter, GrowthModel, Node, Problem, Selector};
use crate::limits::PQL_SIGNAL_COUNT_MAX;
use crate::model::{DurationMs, Entity, Number};

#[derive(Clone, Debug)]
pub struct PqlQuery {
    /// Of the growth model what the query says itself: signals without events of their own come from it.
    pub parts: GrowthModel,
    /// Who scores so much is qualified.
    pub threshold: Number,
    /// Who asked to be called.
    pub hand_raise: Option<HandRaise>,
    /// At least one; their names are distinct.
    pub signals: Vec<PqlSignal>,
    /// Whether it is told on which day the score reached the threshold first.
    pub tells_qualified_at: bool,
}

/// Who asked to be called: by what they did, or by a cohort.
#[derive(Clone, Debug)]
pub enum HandRaise {
    Did(Selector),
    Cohort(CohortExpr),
}

/// One part of the score.
#[derive(Clone, Debug)]
pub struct PqlSignal {
    /// The name of its column.
    pub name: String,
    /// Never negative; not all are 0.
    pub weight: Number,
    /// The raw values that count as 0 and as 1, which differ; between them it is linear, beyond them clipped. Without a
    /// scale a raw value above 0 counts as 1, any other as 0.
    pub scale: Option<(Number, Number)>,
    pub source: SignalSource,
}

/// What a signal looks at.
#[derive(Clone, Debug)]
pub enum SignalSource {
    /// Events in the window; without a selector those of the model's `value`.
    Volume {
        selector: Option<Selector>,
        window: Option<DurationMs>,
    },
    /// Events in the window over those in the one before; without a selector those of the model's `value`.
    Velocity {
        selector: Option<Selector>,
        window: DurationMs,
    },
    /// How many different things in the window.
    Breadth {
        selector: Selector,
        of: Breadth,
        window: Option<DurationMs>,
    },
    /// The same of the model's `feature`.
    Features {
        window: Option<DurationMs>,
    },
    Behaviour(CohortExpr),
    Profile(Filter),
}

/// What is counted without repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// Values of a property.
    Values(String),
    /// Names of events.
    Events,
    /// Days of the calendar with an event.
    ActiveDays,
    /// An account's users.
    Users,
}

/// Columns that a signal cannot be named like.
const COLUMNS: [&str; 6] = ["user", "account", "score", "qualified", "hand_raised", "qualified_at"];

const FORMS: &str = "\"volume\", \"velocity\", \"breadth\", \"behaviour\" or \"profile\"";

impl PqlQuery {
    pub(super) fn parse(fields: &mut Fields<'_>, entity: Entity) -> Result<PqlQuery, Problem> {
        for name in ["from", "to", "interval", "breakdown"] {
            if fields.has(name) {
                let problem = fields.node().problem(format!("leads take no {name:?}"));
                let problem = problem.at(format!("{}/{name}", fields.node().path()));
                return Err(problem.hint(match name {
                    "from" | "to" => "scores are of the moment \"as_of\", and signals have windows before it",
                    "interval" => "ask again with another \"as_of\", or for \"qualified_at\"",
                    _ => "each row is one lead; a \"where\" on the user or account tells some of them only",
                }));
            }
        }
        let parts = GrowthModel::parse_parts(fields)?;
        let threshold = fields.required("threshold")?.number()?;
        let hand_raise = fields.optional("hand_raise").map(|node| parse_hand_raise(&node)).transpose()?;
        let list = fields.required("signals")?;
        let nodes = list.array()?;
        if nodes.is_empty() || nodes.len() > PQL_SIGNAL_COUNT_MAX {
            return Err(list.problem(format!("there are 1 to {PQL_SIGNAL_COUNT_MAX} signals")));
        }
        let mut signals: Vec<PqlSignal> = Vec::with_capacity(nodes.len());
        for node in &nodes {
            let signal = PqlSignal::parse(node, entity)?;
            if signals.iter().any(|other| other.name == signal.name) {
                return Err(node.problem(format!("there are two signals named {:?}", signal.name)));
            }
            signals.push(signal);
        }
        if signals.iter().all(|signal| signal.weight == Number::ZERO) {
            return Err(list.problem("at least one signal has a weight above 0"));
        }
        let tells_qualified_at = fields.optional("qualified_at").map_or(Ok(false), |flag| flag.bool())?;
        Ok(PqlQuery { parts, threshold, hand_raise, signals, tells_qualified_at })
    }
}

/// Events, as they are selected everywhere, or else a cohort.
fn parse_hand_raise(node: &Node<'_>) -> Result<HandRaise, Problem> {
    match node.object() {
        Ok(fields) if !fields.has("event") && !fields.has("any_of") => {
            CohortExpr::parse(node).map(HandRaise::Cohort)
        }
        _ => Selector::parse(node).map(HandRaise::Did),
    }
}

impl PqlSignal {
    fn parse(node: &Node<'_>, entity: Entity) -> Result<PqlSignal, Problem> {
        let mut fields = node.object()?;
        let name_node = fields.required("name")?;
        let name = name_node.string()?.to_owned();
        if name.is_empty() || COLUMNS.contains(&name.as_str()) {
            return Err(name_node.problem(format!("a signal cannot be named {name:?}")));
        }
        let weight = match fields.optional("weight") {
            Some(weight) if weight.number()?.is_negative() => {
                return Err(weight
                    .problem("a weight is not negative")
                    .hint("a scale from high to low makes more of a thing count less"));
            }
            Some(weight) => weight.number()?,
            None => Number::from(1),
        };
        let scale = fields.optional("scale").map(|scale| parse_scale(&scale)).transpose()?;
        let mut sources = Vec::new();
        if let Some(node) = fields.optional("volume") {
            sources.push(parse_volume(&node)?);
        }
        if let Some(node) = fields.optional("velocity") {
            sources.push(parse_velocity(&node)?);
        }
        if let Some(node) = fields.optional("breadth") {
            sources.push(parse_breadth(&node, entity)?);
        }
        if let Some(node) = fields.optional("behaviour") {
            sources.push(SignalSource::Behaviour(CohortExpr::parse(&node)?));
        }
        if let Some(node) = fields.optional("profile") {
            sources.push(SignalSource::Profile(Filter::parse_profile(&node)?));
        }
        fields.finish()?;
        let Ok([source]) = <[SignalSource; 1]>::try_from(sources) else {
            return Err(node.problem(format!("a signal has one of {FORMS}")));
        };
        Ok(PqlSignal { name, weight, scale, source })
    }
}

fn parse_scale(node: &Node<'_>) -> Result<(Number, Number), Problem> {
    let ends = node.array()?;
    let [zero, one] = ends.as_slice() else {
        return Err(node.problem("a scale is two numbers: those that count as 0 and as 1"));
    };
    let scale = (zero.number()?, one.number()?);
    if scale.0 == scale.1 {
        return Err(node.problem("the ends of a scale differ"));
    }
    Ok(scale)
}

/// The events of a signal, if it has its own.
fn parse_events(fields: &mut Fields<'_>) -> Result<Option<Selector>, Problem> {
    let has_own = fields.has("event") || fields.has("any_of");
    has_own.then(|| parse_event_fields(fields)).transpose()
}

fn parse_window(fields: &mut Fields<'_>) -> Result<Option<DurationMs>, Problem> {
    let Some(node) = fields.optional("window") else { return Ok(None) };
    let window = parse_duration(&node)?;
    if window.as_ms() == 0 {
        return Err(node.problem("a window is longer than nothing"));
    }
    Ok(Some(window))
}

fn parse_volume(node: &Node<'_>) -> Result<SignalSource, Problem> {
    let mut fields = node.object()?;
    let selector = parse_events(&mut fields)?;
    let window = parse_window(&mut fields)?;
    fields.finish()?;
    Ok(SignalSource::Volume { selector, window })
}

fn parse_velocity(node: &Node<'_>) -> Result<SignalSource, Problem> {
    let mut fields = node.object()?;
    let selector = parse_events(&mut fields)?;
    fields.required("window")?;
    let window = parse_window(&mut fields)?.expect("the window is there");
    fields.finish()?;
    Ok(SignalSource::Velocity { selector, window })
}

fn parse_breadth(node: &Node<'_>, entity: Entity) -> Result<SignalSource, Problem> {
    let mut fields = node.object()?;
    let selector = parse_events(&mut fields)?;
    let window = parse_window(&mut fields)?;
    let property = fields.optional("property");
    let of_node = fields.optional("of");
    let words =
        [("events", Breadth::Events), ("active_days", Breadth::ActiveDays), ("users", Breadth::Users)];
    let of = match (&property, &of_node) {
        (Some(property), None) => Some(Breadth::Values(parse_property(property)?)),
        (None, Some(of)) => {
            let index = of.word(&[0, 1, 2].map(|index| (words[index].0, index)))?;
            Some(words[index].1.clone())
        }
        (None, None) => None,
        (Some(_), Some(of)) => {
            return Err(of.problem("a breadth is of a property, or of what \"of\" says"));
        }
    };
    fields.finish()?;
    if let (Some(Breadth::Users), Some(node), Entity::User) = (&of, &of_node, entity) {
        let problem = node.problem("the active users are those of an account");
        return Err(problem.hint("ask with \"entity\": \"account\""));
    }
    Ok(match (selector, of) {
        (None, None) => SignalSource::Features { window },
        (Some(_), None) => {
            let problem = node.problem("it is not said of what the breadth is");
            return Err(problem.hint(
                "give a \"property\", or \"of\": \"events\", \"active_days\" or, of accounts, \"users\"",
            ));
        }
        (selector, Some(of)) => {
            SignalSource::Breadth { selector: selector.unwrap_or_else(Selector::any), of, window }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Json, QueryKind, QueryRequest};
    use super::*;

    fn parse_with(rest: &str, signal: &str) -> Result<PqlQuery, Problem> {
        let body = format!(r#"{{"kind": "pql", "threshold": 0.5, "signals": [{signal}]{rest}}}"#);
        let request = QueryRequest::parse(&Json::parse(body.as_bytes()).unwrap())?;
        let QueryKind::Pql(query) = request.kind else { panic!("leads") };
        Ok(query)
    }

    fn source(signal: &str) -> Result<SignalSource, Problem> {
        let mut query = parse_with("", &format!(r#"{{"name": "s", {signal}}}"#))?;
        Ok(query.signals.swap_remove(0).source)
    }

    #[test]
    fn every_kind_of_signal_is_read() {
        assert!(matches!(
            source(r#""volume": {"event": "run", "window": "30d"}"#).unwrap(),
            SignalSource::Volume { selector: Some(_), window: Some(_) }
        ));
        assert!(matches!(source(r#""volume": {}"#).unwrap(), SignalSource::Volume { selector: None, .. }));
        assert!(matches!(
            source(r#""velocity": {"any_of": ["a", "b"], "window": "7d"}"#).unwrap(),
            SignalSource::Velocity { .. }
        ));
        assert!(matches!(
            source(r#""breadth": {"event": "use", "property": "feature"}"#).unwrap(),
            SignalSource::Breadth { of: Breadth::Values(_), .. }
        ));
        assert!(matches!(
            source(r#""breadth": {"of": "active_days", "window": "28d"}"#).unwrap(),
            SignalSource::Breadth { of: Breadth::ActiveDays, .. }
        ));
        assert!(matches!(source(r#""breadth": {}"#).unwrap(), SignalSource::Features { window: None }));
        assert!(matches!(
            source(r#""behaviour": {"sequence": ["a", "b"]}"#).unwrap(),
            SignalSource::Behaviour(CohortExpr::Result(_))
        ));
        assert!(matches!(
            source(r#""profile": {"property": "size", "op": "gte", "value": 50}"#).unwrap(),
            SignalSource::Profile(_)
        ));
    }

    #[test]
    fn a_hand_is_raised_by_an_event_or_by_a_cohort() {
        let signal = r#"{"name": "s", "volume": {}}"#;
        let hand = |hand: &str| parse_with(&format!(r#", "hand_raise": {hand}"#), signal).unwrap().hand_raise;
        assert!(matches!(hand(r#""demo_requested""#), Some(HandRaise::Did(_))));
        assert!(matches!(hand(r#"{"event": "form", "as": "asked"}"#), Some(HandRaise::Did(_))));
        assert!(matches!(hand(r#"{"did": "form", "at_least": 2}"#), Some(HandRaise::Cohort(_))));
        assert!(hand("null").is_none());
    }

    #[test]
    fn errors_name_the_place() {
        let path = |signal: &str| source(signal).unwrap_err().path.unwrap_or_default();
        assert_eq!(path(r#""weight": 1"#), "/signals/0");
        assert_eq!(path(r#""volume": {}, "profile": {"property": "a", "op": "is_set"}"#), "/signals/0");
        assert_eq!(path(r#""volume": {}, "weight": -1"#), "/signals/0/weight");
        assert_eq!(path(r#""volume": {}, "weight": 0"#), "/signals");
        assert_eq!(path(r#""volume": {}, "scale": [1, 1]"#), "/signals/0/scale");
        assert_eq!(path(r#""volume": {"window": "0d"}"#), "/signals/0/volume/window");
        assert_eq!(path(r#""velocity": {"event": "a"}"#), "/signals/0/velocity");
        assert_eq!(path(r#""breadth": {"event": "a"}"#), "/signals/0/breadth");
        assert_eq!(path(r#""breadth": {"of": "users"}"#), "/signals/0/breadth/of");
        assert_eq!(path(r#""breadth": {"of": "days"}"#), "/signals/0/breadth/of");
        assert_eq!(path(r#""breadth": {"of": "events", "property": "p"}"#), "/signals/0/breadth/of");
        let path = |rest: &str, signal: &str| parse_with(rest, signal).unwrap_err().path.unwrap_or_default();
        assert_eq!(path("", r#"{"name": "score", "volume": {}}"#), "/signals/0/name");
        let signal = r#"{"name": "s", "volume": {}}"#;
        assert_eq!(path("", &format!("{signal}, {signal}")), "/signals/1");
        assert_eq!(path(r#", "breakdown": {"property": "p"}"#, signal), "/breakdown");
        assert_eq!(path(r#", "interval": "day""#, signal), "/interval");
        assert_eq!(path(r#", "from": "-30d""#, signal), "/from");
    }
}
