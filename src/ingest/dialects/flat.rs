//! The properties of one event or profile: flattened, and cut where they pass a limit.

use crate::api::Json;
use crate::ingest::event::EventLimits;
use crate::limits::{
    EVENT_SIZE_MAX, LIST_ELEMENT_COUNT_MAX, NESTING_DEPTH_MAX, PROPERTY_COUNT_MAX, PROPERTY_NAME_SIZE_MAX,
    STRING_VALUE_SIZE_MAX,
};
use crate::model::Value;

/// The property that names what was cut of an event.
const TRUNCATED: &str = "$truncated";
/// Bytes of all texts of an event: with names, numbers and escapes it still fits what an event of ours may be.
const TEXT_SIZE_MAX: usize = EVENT_SIZE_MAX / 2;
/// Names that it tells.
const TRUNCATED_COUNT_MAX: usize = 50;
/// Values of an event that are looked at, most of which are there twice or are no properties: each is compared with those
/// that were taken.
const LOOKED_AT_COUNT_MAX: usize = 16 * PROPERTY_COUNT_MAX;

/// Properties as they are taken in. Of a name that comes twice the last value holds.
#[derive(Debug, Default)]
pub(super) struct Flat {
    values: Vec<(String, Value)>,
    /// Names whose last value was null.
    nulls: Vec<String>,
    /// Names of what was cut or left out.
    truncated: Vec<String>,
    /// Bytes of texts taken in.
    text_size: usize,
    /// Values that were looked at.
    looked_at_count: usize,
}

impl Flat {
    /// Takes the fields of an object; anything else has none.
    pub fn object(json: Option<&Json>) -> Flat {
        let mut flat = Flat::default();
        flat.put_all(json, |_| true);
        flat
    }

    /// Takes the fields of an object whose names `wanted` likes.
    pub fn put_all(&mut self, json: Option<&Json>, wanted: impl Fn(&str) -> bool) {
        if let Some(Json::Object(fields)) = json {
            fields.iter().filter(|(name, _)| wanted(name)).for_each(|(name, value)| self.put(name, value));
        }
    }

    /// Takes a value; the fields of an object go by dotted names.
    pub fn put(&mut self, name: &str, json: &Json) {
        self.put_at(name, json, 0);
    }

    /// Takes a value if there is none of that name.
    pub fn put_missing(&mut self, name: &str, json: &Json) {
        if self.looked_at_count > LOOKED_AT_COUNT_MAX {
            return;
        }
        if !self.values.iter().any(|(known, _)| known == name) {
            self.put(name, json);
        }
    }

    fn put_at(&mut self, name: &str, json: &Json, depth: usize) {
        if name.is_empty() {
            return;
        }
        self.looked_at_count += 1;
        if name.len() > PROPERTY_NAME_SIZE_MAX || self.looked_at_count > LOOKED_AT_COUNT_MAX {
            return self.leave_out(cut(name, 64));
        }
        let value = match json {
            Json::Object(fields) if depth < NESTING_DEPTH_MAX => {
                for (field, value) in fields {
                    self.put_at(&format!("{name}.{field}"), value, depth + 1);
                }
                return;
            }
            Json::Null => {
                self.values.retain(|(known, _)| known != name);
                if !self.nulls.iter().any(|known| known == name) && self.nulls.len() < PROPERTY_COUNT_MAX {
                    self.nulls.push(name.to_owned());
                }
                return;
            }
            Json::Array(items) => {
                if items.len() > LIST_ELEMENT_COUNT_MAX {
                    self.leave_out(name);
                }
                let items = items.iter().filter(|item| **item != Json::Null).take(LIST_ELEMENT_COUNT_MAX);
                Value::List(items.map(|item| self.scalar(name, item)).collect())
            }
            scalar => self.scalar(name, scalar),
        };
        self.nulls.retain(|known| known != name);
        match self.values.iter().position(|(known, _)| known == name) {
            Some(at) => self.values[at].1 = value,
            // One place is kept for the names of what was cut.
            None if self.values.len() + 1 == PROPERTY_COUNT_MAX => self.leave_out(name),
            None => self.values.push((name.to_owned(), value)),
        }
    }

    /// A value of a list, or outside one; what is neither text, number nor boolean is its JSON as text.
    fn scalar(&mut self, name: &str, json: &Json) -> Value {
        match json {
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => Value::Number(*number),
            Json::String(text) => self.text(name, text),
            nested => self.text(name, &nested.to_string()),
        }
    }

    fn text(&mut self, name: &str, text: &str) -> Value {
        let kept = cut(text, STRING_VALUE_SIZE_MAX.min(TEXT_SIZE_MAX - self.text_size));
        self.text_size += kept.len();
        if kept.len() < text.len() && self.truncated.last().is_none_or(|last| last != name) {
            self.leave_out(name);
        }
        kept.into()
    }

    /// Cuts to less than what the limits of limits.rs are, where an operator wants less.
    fn cut_to(&mut self, limits: EventLimits) {
        if limits
            == (EventLimits { batch_event_count_max: limits.batch_event_count_max, ..EventLimits::default() })
        {
            return;
        }
        let mut values = std::mem::take(&mut self.values);
        for (name, _) in values.drain(values.len().min(limits.property_count_max - 1)..) {
            self.leave_out(&name);
        }
        let mut text_size = 0;
        for (name, value) in &mut values {
            let Some(text) = value.as_str() else { continue };
            let kept =
                cut(text, limits.value_size_max.min((limits.event_size_max / 2).saturating_sub(text_size)));
            text_size += kept.len();
            if kept.len() < text.len() {
                *value = kept.into();
                self.leave_out(name);
            }
        }
        self.values = values;
    }

    /// Notes that something of this name is cut or left out.
    fn leave_out(&mut self, name: &str) {
        if self.truncated.len() < TRUNCATED_COUNT_MAX {
            self.truncated.push(name.to_owned());
        }
    }

    /// Values and the names of nulls, for a profile.
    pub fn into_profile(self) -> (Vec<(String, Value)>, Vec<String>) {
        (self.values, self.nulls)
    }

    /// The values, for an event within these limits, with the names of what was cut as the last of them.
    pub fn into_values(mut self, limits: EventLimits) -> Vec<(String, Value)> {
        self.cut_to(limits);
        if !self.truncated.is_empty() {
            let names = self.truncated.iter().map(|name| name.as_str().into()).collect();
            self.values.retain(|(name, _)| name != TRUNCATED);
            self.values.push((TRUNCATED.to_owned(), Value::List(names)));
        }
        self.values
    }
}

/// The start of a text, whole characters of at most `size_max` bytes.
pub(super) fn cut(text: &str, size_max: usize) -> &str {
    &text[..text.floor_char_boundary(size_max)]
}

#[cfg(test)]
mod tests {
    use super::super::lenient;
    use super::*;

    fn values(json: &str) -> Vec<(String, Value)> {
        Flat::object(Some(&lenient::parse(json.as_bytes()).unwrap())).into_values(EventLimits::default())
    }

    #[test]
    fn objects_are_flattened_and_objects_in_lists_are_text() {
        let found = values(r#"{"a":{"b":{"c":1}},"l":[1,null,{"x":[2]},"y"],"n":null,"a.b.c":2,"":3}"#);
        let list = Value::List(vec![1.into(), r#"{"x":[2]}"#.into(), "y".into()]);
        assert_eq!(found, [("a.b.c".to_owned(), 2.into()), ("l".to_owned(), list)]);
    }

    #[test]
    fn what_is_too_large_is_cut_and_named() {
        let long = "é".repeat(STRING_VALUE_SIZE_MAX);
        let name = "n".repeat(PROPERTY_NAME_SIZE_MAX + 1);
        let list = vec!["1"; LIST_ELEMENT_COUNT_MAX + 1].join(",");
        let found = values(&format!(r#"{{"a":"{long}","{name}":1,"l":[{list}]}}"#));
        assert_eq!(found[0].1.as_str().map(str::len), Some(STRING_VALUE_SIZE_MAX));
        assert_eq!(found[1].1.elements().len(), LIST_ELEMENT_COUNT_MAX);
        let named = Value::List(vec!["a".into(), "n".repeat(64).as_str().into(), "l".into()]);
        assert_eq!(found[2], ("$truncated".to_owned(), named));
        let many: Vec<String> = (0..300).map(|n| format!(r#""p{n}":1"#)).collect();
        assert_eq!(values(&format!("{{{}}}", many.join(","))).len(), PROPERTY_COUNT_MAX);
    }
}
