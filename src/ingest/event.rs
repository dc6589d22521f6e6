//! Reads one event from its JSON text, straight into a batch.
//!
//! The text is scanned once. Values come as raw pieces of it, so that numbers keep all their decimals and
//! strings without escapes are never copied before they reach the batch. An event is added only when the
//! whole of it is sound: a bad one leaves not even its name behind.

use std::borrow::Cow;
use std::fmt;

use jiff::tz::TimeZone;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::{Fault, Text, excerpt, kind_of, noted, syntax_message, unquote};
use super::properties::{Properties, PropertiesSeed};
use crate::api::nearest;
use crate::limits::{
    BATCH_EVENT_COUNT_MAX, ENTITY_ID_SIZE_MAX, EVENT_ID_SIZE_MAX, EVENT_NAME_SIZE_MAX, EVENT_SIZE_MAX,
    PROPERTY_COUNT_MAX, STRING_VALUE_SIZE_MAX,
};
use crate::model::{EventBatch, Number, TimeMs, checked_time, parse_time};

/// The fields of an event.
const FIELDS: [&str; 6] = ["event", "user", "time", "id", "account", "properties"];

/// What other products call our fields.
const FOREIGN_NAMES: [(&str, &str); 14] = [
    ("distinct_id", "user"),
    ("distinctId", "user"),
    ("user_id", "user"),
    ("userId", "user"),
    ("timestamp", "time"),
    ("ts", "time"),
    ("name", "event"),
    ("event_name", "event"),
    ("event_type", "event"),
    ("account_id", "account"),
    ("insert_id", "id"),
    ("$insert_id", "id"),
    ("uuid", "id"),
    ("event_properties", "properties"),
];

/// Numbers nearer to zero than this are seconds: as milliseconds they lie before March 1973.
const EPOCH_MS_MIN: i64 = 100_000_000_000;

/// How large events may be: as limits.rs says, or less where an operator wants less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// Events of one request.
    pub batch_event_count_max: usize,
    /// Bytes of one event as JSON text.
    pub event_size_max: usize,
    /// Properties of one event, after nested objects are flattened.
    pub property_count_max: usize,
    /// Bytes of one string value.
    pub value_size_max: usize,
}

impl Default for EventLimits {
    fn default() -> EventLimits {
        EventLimits {
            batch_event_count_max: BATCH_EVENT_COUNT_MAX,
            event_size_max: EVENT_SIZE_MAX,
            property_count_max: PROPERTY_COUNT_MAX,
            value_size_max: STRING_VALUE_SIZE_MAX,
        }
    }
}

impl EventLimits {
    /// Checks properties that are within the limits of limits.rs.
    fn check(&self, properties: &Properties<'_>) -> Result<(), Fault> {
        // Nearly always nobody asked for less.
        if (self.property_count_max, self.value_size_max) == (PROPERTY_COUNT_MAX, STRING_VALUE_SIZE_MAX) {
            return Ok(());
        }
        if properties.iter().count() > self.property_count_max {
            let detail = format!("more than {} properties", self.property_count_max);
            return Err(Fault::new(detail).at("properties"));
        }
        match properties.iter().find(|(_, value)| value.text_size_max() > self.value_size_max) {
            Some((name, value)) => {
                let (size, most) = (value.text_size_max(), self.value_size_max);
                let detail = format!("the string {name:?} has {size} bytes; at most {most} are allowed");
                Err(Fault::new(detail).at("properties"))
            }
            None => Ok(()),
        }
    }
}

/// What an event gets that does not say so itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults<'a> {
    /// Without one, an event must have a time.
    pub time: Option<TimeMs>,
    pub id: Option<&'a str>,
}

/// Reads events one after the other, and keeps its memory between them.
#[derive(Debug, Default)]
pub(crate) struct EventReader<'de> {
    properties: Properties<'de>,
    limits: EventLimits,
}

#[derive(Debug, Default)]
struct Head<'de> {
    event: Option<Cow<'de, str>>,
    user: Option<Cow<'de, str>>,
    id: Option<Cow<'de, str>>,
    account: Option<Cow<'de, str>>,
    time: Option<TimeMs>,
}

impl<'de> EventReader<'de> {
    /// A reader of events within these limits.
    pub fn within(limits: EventLimits) -> EventReader<'de> {
        EventReader { limits, ..EventReader::default() }
    }

    /// Reads one event and adds it to `batch`, or changes nothing in it.
    pub fn read(
        &mut self,
        text: &'de [u8],
        defaults: Defaults<'_>,
        batch: &mut EventBatch,
    ) -> Result<(), Fault> {
        if text.len() > self.limits.event_size_max {
            let (size, most) = (text.len(), self.limits.event_size_max);
            return Err(Fault::new(format!("the event has {size} bytes; at most {most} are allowed")));
        }
        let text = std::str::from_utf8(text)
            .map_err(|error| Fault::new(format!("not UTF-8 from byte {} on", error.valid_up_to())))?;
        if !text.starts_with('{') {
            return Err(not_an_object(text));
        }
        self.properties.clear();
        let mut head = Head::default();
        let mut fault = None;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let visitor = EventVisitor { head: &mut head, properties: &mut self.properties, fault: &mut fault };
        if let Err(error) = deserializer.deserialize_map(visitor).and_then(|()| deserializer.end()) {
            return Err(match fault {
                Some(fault) => fault,
                // All other values are taken as they are, so only this one can be of a wrong type.
                None if error.is_data() => Fault::new(syntax_message(&error)).at("properties"),
                None => Fault::syntax(&error, text.as_bytes()),
            });
        }
        self.limits.check(&self.properties)?;
        let event = head.event.ok_or_else(|| missing("event"))?;
        let user = head.user.ok_or_else(|| missing("user"))?;
        let time = head.time.or(defaults.time).ok_or_else(|| missing("time"))?;
        let id = head.id.as_deref().or(defaults.id);
        batch
            .push_event(&event, &user, time, id, head.account.as_deref())
            .and_then(|()| self.properties.push_to(batch))
            .map_err(|error| Fault::new(error.to_string()))
    }
}

struct EventVisitor<'a, 'de> {
    head: &'a mut Head<'de>,
    properties: &'a mut Properties<'de>,
    fault: &'a mut Option<Fault>,
}

impl<'de> Visitor<'de> for EventVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            if name == "properties" {
                // The last of repeated fields holds.
                self.properties.clear();
                if let Err(error) = map.next_value_seed(PropertiesSeed::outermost(self.properties)) {
                    *self.fault = self.properties.take_fault().map(|fault| fault.under("properties"));
                    return Err(error);
                }
                continue;
            }
            let raw = map.next_value::<&'de RawValue>()?.get();
            let taken = match &*name {
                "event" => string("event", raw, EVENT_NAME_SIZE_MAX).map(|text| self.head.event = text),
                "user" => string("user", raw, ENTITY_ID_SIZE_MAX).map(|text| self.head.user = text),
                "account" => string("account", raw, ENTITY_ID_SIZE_MAX).map(|text| self.head.account = text),
                "id" => string("id", raw, EVENT_ID_SIZE_MAX).map(|text| self.head.id = text),
                "time" => time(raw).map(|time| self.head.time = time),
                unknown => Err(unknown_field(unknown)),
            };
            if let Err(fault) = taken {
                *self.fault = Some(fault.at(&name));
                return Err(noted());
            }
        }
        Ok(())
    }
}

fn not_an_object(text: &str) -> Fault {
    if let Err(error) = serde_json::from_str::<&RawValue>(text) {
        return Fault::syntax(&error, text.as_bytes());
    }
    let fault = Fault::new(format!("expected an event object, found {}", kind_of(text)));
    match text.as_bytes().first() {
        Some(b'[') => fault.hint("an array of events is sent as application/json, not as lines"),
        _ => fault,
    }
}

pub(crate) fn missing(field: &str) -> Fault {
    Fault::new(format!("the field {field:?} is missing")).at(field)
}

/// Reads a string of 1 to `size_max` bytes for `field`; a null is none.
pub(crate) fn string<'de>(
    field: &str,
    raw: &'de str,
    size_max: usize,
) -> Result<Option<Cow<'de, str>>, Fault> {
    match raw.as_bytes()[0] {
        b'n' => return Ok(None),
        b'"' => {}
        first => {
            let fault = Fault::new(format!("expected {field} to be a string, found {}", kind_of(raw)));
            let is_id = field != "event" && (first == b'-' || first.is_ascii_digit());
            return Err(if is_id { fault.hint("send ids as strings") } else { fault });
        }
    }
    let text = unquote(raw)?;
    check_size(field, &text, size_max)?;
    Ok(Some(text))
}

/// Checks the size of a name or id in bytes, which must be 1 to `size_max`.
pub(crate) fn check_size(field: &str, text: &str, size_max: usize) -> Result<(), Fault> {
    match text.len() {
        0 => Err(Fault::new(format!("{field} is empty"))),
        size if size > size_max => {
            Err(Fault::new(format!("{field} has {size} bytes; at most {size_max} are allowed")))
        }
        _ => Ok(()),
    }
}

/// Reads a time as requests write it; a null is none.
fn time(raw: &str) -> Result<Option<TimeMs>, Fault> {
    match raw.as_bytes()[0] {
        b'n' => Ok(None),
        b'"' => parse_time(&unquote(raw)?, &TimeZone::UTC).map(Some).map_err(|e| Fault::new(e.to_string())),
        b'-' | b'0'..=b'9' => epoch_ms(raw).map(Some),
        _ => {
            let found = kind_of(raw);
            Err(Fault::new(format!(
                "expected a time (RFC 3339, a date or epoch milliseconds), found {found}"
            )))
        }
    }
}

/// Reads a moment as a whole number of milliseconds, and tells seconds and microseconds from them.
fn epoch_ms(raw: &str) -> Result<TimeMs, Fault> {
    let found = excerpt(raw);
    let whole = Number::parse(raw).ok().and_then(|number| number.mantissa_at(0));
    let Some(ms) = whole.and_then(|whole| i64::try_from(whole).ok()) else {
        return Err(Fault::new(format!("expected epoch milliseconds, a whole number, found {found}")));
    };
    if ms.abs() < EPOCH_MS_MIN {
        let fault = Fault::new(format!("{found} looks like seconds; epoch times are in milliseconds"));
        return Err(fault.hint("multiply by 1000; send times before 1974 as RFC 3339 strings"));
    }
    checked_time(ms).ok_or_else(|| {
        Fault::new(format!(
            "the time {found} is outside 1900-01-01 to 2200-01-01; epoch times are in milliseconds"
        ))
    })
}

fn unknown_field(name: &str) -> Fault {
    let fault = Fault::new(format!("unknown field {:?}", excerpt(name)));
    let foreign = FOREIGN_NAMES.iter().find(|(foreign, _)| *foreign == name).map(|(_, ours)| *ours);
    match foreign.or_else(|| nearest(name, FIELDS)) {
        Some(known) => fault.hint(format!("did you mean {known:?}?")),
        None => fault
            .hint("known fields: event, user, time, id, account, properties; all else belongs in properties"),
    }
}
