//! Writes events as the JSON that [`parse_events`](super::parse_events) reads.

use std::io::Write;

use jiff::Timestamp;

use crate::model::{CellRef, EventRef};

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
    for (index, property) in event.properties().enumerate() {
        out.extend_from_slice(if index == 0 { b",\"properties\":{" } else { b"," });
        write_string(out, property.name());
        out.push(b':');
        write_value(out, &property.value());
    }
    out.extend_from_slice(if event.properties().len() == 0 { b"}\n" } else { b"}}\n" });
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

fn write_string(out: &mut Vec<u8>, text: &str) {
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
