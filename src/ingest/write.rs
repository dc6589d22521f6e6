//! Writes events as the JSON that [`parse_events`](super::parse_events) reads.

use std::io::Write;

use jiff::Timestamp;

use crate::model::{CellRef, Entity, EventRef, IdentityMerge, ProfileWrite};

/// Appends the event and a line feed. Reading it back gives the same event.
pub fn write_event(out: &mut Vec<u8>, event: EventRef<'_>) {
    out.extend_from_slice(b"{\"event\":");
    write_string(out, event.event());
    out.extend_from_slice(b",\"user\":");
    write_string(out, event.user());
    let time = Timestamp::from_millisecond(event.time()).expect("stored times lie in 1900 to 2200");
    write!(out, ",\"time\":\"{time}\"").expect("memory takes every write");
    for (name, text) in [("id", event.id()), ("account", event.account())] {
        if let Some(text) = text {
            write!(out, ",\"{name}\":").expect("memory takes every write");
            write_string(out, text);
        }
    }
    if event.properties().len() > 0 {
        out.extend_from_slice(b",\"properties\":");
        write_properties(out, event);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the properties of an event as a JSON object.
pub fn write_properties(out: &mut Vec<u8>, event: EventRef<'_>) {
    out.push(b'{');
    for (index, property) in event.properties().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, property.name());
        out.push(b':');
        write_value(out, &property.value());
    }
    out.push(b'}');
}

/// Appends a change to a profile and a line feed, as `POST /v1/users` takes it.
pub fn write_profile(out: &mut Vec<u8>, entity: Entity, write: &ProfileWrite) {
    let object = |out: &mut Vec<u8>, name: &str, fields: &mut dyn Iterator<Item = (&String, String)>| {
        out.extend_from_slice(format!(",\"{name}\":{{").as_bytes());
        for (index, (name, value)) in fields.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(out, name);
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'}');
    };
    out.extend_from_slice(format!("{{\"{}\":", entity.name()).as_bytes());
    write_string(out, &write.id);
    for (name, values) in [("set", &write.set), ("set_once", &write.set_once)] {
        if !values.is_empty() {
            object(out, name, &mut values.iter().map(|(name, value)| (name, value.to_string())));
        }
    }
    if !write.add.is_empty() {
        object(out, "add", &mut write.add.iter().map(|(name, number)| (name, number.to_string())));
    }
    if !write.unset.is_empty() {
        out.extend_from_slice(b",\"unset\":");
        serde_json::to_writer(&mut *out, &write.unset)
            .expect("strings are JSON, and memory takes every write");
    }
    out.extend_from_slice(b"}\n");
}

/// Appends a pair of ids and a line feed, as `POST /v1/identities` takes it.
pub fn write_identity(out: &mut Vec<u8>, merge: &IdentityMerge) {
    out.extend_from_slice(b"{\"from\":");
    write_string(out, &merge.from);
    out.extend_from_slice(b",\"into\":");
    write_string(out, &merge.into);
    out.extend_from_slice(b"}\n");
}

fn write_value(out: &mut Vec<u8>, value: &CellRef<'_>) {
    match value {
        CellRef::Text(text) => write_string(out, text),
        CellRef::Bool(truth) => write!(out, "{truth}").expect("memory takes every write"),
        CellRef::Number(number) => write!(out, "{number}").expect("memory takes every write"),
        CellRef::List(elements) => {
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, element);
            }
            out.push(b']');
        }
    }
}

/// Appends a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string is JSON, and memory takes every write");
}

#[cfg(test)]
mod tests {
    use super::super::{BodyForm, OnError, parse_events};
    use super::*;

    #[test]
    fn what_is_written_reads_back_as_the_same_event() {
        let body = br#"{"event":"e \"1\"","user":"u\n","time":"1969-12-31T23:59:59.999Z","id":"i","account":"a","properties":{"n":-0.50,"t":true,"l":["x",1],"a":{"b":"c"}}}
{"event":"e","user":"u","time":1700000000000}"#;
        let read = |body: &[u8]| parse_events(body, BodyForm::Ndjson, OnError::Reject, 0).unwrap().batch;
        let batch = read(body);
        let mut written = Vec::new();
        batch.iter().for_each(|event| write_event(&mut written, event));
        let again = read(&written);
        assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), 2);
        assert!(batch.iter().map(|e| e.to_event()).eq(again.iter().map(|e| e.to_event())));
    }
}
