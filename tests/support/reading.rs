//! Reads the bodies of write requests, apart from the product's own parser.
//!
//! The bodies are those of the conformance cases and known to be well formed: what is not panics.

use flywheeldb::api::Json;
use flywheeldb::model::{Event, IdentityMerge, Number, ProfileWrite, TimeMs, Value};

pub fn event(json: &Json) -> Event {
    let mut properties = Vec::new();
    flatten("", json.get("properties").unwrap_or(&Json::Null), &mut properties);
    Event {
        event: text(json, "event").expect("an event has a name"),
        user: text(json, "user").expect("an event has a user"),
        time: time(json.get("time").expect("the cases give each event a time")),
        id: text(json, "id"),
        account: text(json, "account"),
        properties,
    }
}

/// Reads a profile write; `entity` is the field with the id, `user` or `account`.
pub fn profile_write(json: &Json, entity: &str) -> ProfileWrite {
    ProfileWrite {
        id: text(json, entity).expect("a profile has an id"),
        set: values(json.get("set")),
        set_once: values(json.get("set_once")),
        add: values(json.get("add"))
            .into_iter()
            .map(|(name, value)| (name, value.as_number().expect("only numbers are added")))
            .collect(),
        unset: items(json.get("unset")).iter().map(string).collect(),
    }
}

pub fn identity_merge(json: &Json) -> IdentityMerge {
    let id = |name| text(json, name).expect("a merge names two ids");
    IdentityMerge { from: id("from"), into: id("into") }
}

/// The elements of an array, none if it is missing.
pub fn items(json: Option<&Json>) -> &[Json] {
    match json {
        Some(Json::Array(items)) => items,
        None | Some(Json::Null) => &[],
        Some(other) => panic!("{other} is no array"),
    }
}

/// A number as JSON writes it.
pub fn number(text: &str) -> Json {
    Json::Number(Number::parse(text).expect("it is written as a number"))
}

pub fn string(json: &Json) -> String {
    let Json::String(text) = json else { panic!("{json} is no string") };
    text.clone()
}

/// A property's value. `None` for null; nulls in lists are left out.
pub fn value(json: &Json) -> Option<Value> {
    match json {
        Json::Null => None,
        Json::Bool(truth) => Some(Value::Bool(*truth)),
        Json::Number(number) => Some(Value::Number(*number)),
        Json::String(text) => Some(Value::String(text.clone())),
        Json::Array(items) => Some(Value::List(items.iter().filter_map(value).collect())),
        Json::Object(_) => panic!("{json} is no value"),
    }
}

/// A value as JSON, the other way round.
pub fn json(value: &Value) -> Json {
    match value {
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Number(number) => Json::Number(*number),
        Value::String(text) => Json::String(text.clone()),
        Value::List(elements) => Json::Array(elements.iter().map(json).collect()),
    }
}

/// A whole number as JSON.
pub fn count(count: usize) -> Json {
    Json::Number(Number::from(i64::try_from(count).expect("counts are small")))
}

fn text(json: &Json, name: &str) -> Option<String> {
    json.get(name).filter(|value| **value != Json::Null).map(string)
}

fn values(json: Option<&Json>) -> Vec<(String, Value)> {
    let mut properties = Vec::new();
    flatten("", json.unwrap_or(&Json::Null), &mut properties);
    properties
}

/// Nested objects become dotted names; null is a missing value.
fn flatten(prefix: &str, json: &Json, properties: &mut Vec<(String, Value)>) {
    let Json::Object(fields) = json else { return };
    for (name, field) in fields {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match field {
            Json::Object(_) => flatten(&name, field, properties),
            _ => properties.extend(value(field).map(|value| (name, value))),
        }
    }
}

/// An RFC 3339 moment, a date in UTC, or epoch milliseconds.
fn time(json: &Json) -> TimeMs {
    match json {
        Json::Number(ms) => ms.mantissa_at(0).and_then(|ms| i64::try_from(ms).ok()).expect("milliseconds"),
        Json::String(text) => {
            let moment = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.clone() };
            let moment: jiff::Timestamp = moment.parse().expect("an RFC 3339 moment");
            moment.as_nanosecond().div_euclid(1_000_000) as TimeMs
        }
        other => panic!("{other} is no time"),
    }
}
